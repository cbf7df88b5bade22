import { InvalidArgumentError } from 'commander';
import { describe, expect, it } from 'vitest';
import {
  parseBytes,
  parseCacheDtypes,
  parseCount,
  parseCounts,
  parseNonNegative,
  parseSeed,
  parseShare,
} from './parse-values.ts';

describe('values of options', () => {
  it('are read', () => {
    expect(parseCount('4')).toBe(4);
    expect(parseCounts('512, 2048')).toEqual([512, 2048]);
    expect(parseCacheDtypes('f16, int8')).toEqual(['f16', 'int8']);
    expect(parseSeed('0')).toBe(0);
    expect(parseShare('50%')).toBe(0.5);
    expect(parseShare('0.25')).toBe(0.25);
    expect(parseShare('1/3')).toBe(1 / 3);
    expect(parseNonNegative('0.7')).toBe(0.7);
    expect(parseBytes('2GB')).toBe(2e9);
    expect(parseBytes('500 MiB')).toBe(500 * 1024 * 1024);
    expect(parseBytes('1234')).toBe(1234);
  });

  it.each([
    [parseCount, '0'],
    [parseCount, 'four'],
    [parseCounts, '512,'],
    [parseCacheDtypes, 'f16,int2'],
    [parseSeed, '-1'],
    [parseSeed, '1.5'],
    [parseShare, '0%'],
    [parseShare, '1/0'],
    [parseShare, '%'],
    [parseShare, '120%'],
    [parseNonNegative, ''],
    [parseNonNegative, '-1'],
    [parseBytes, 'much'],
    [parseBytes, '0'],
  ])('%o refuses %j', (parse, text) => {
    expect(() => parse(text)).toThrow(InvalidArgumentError);
  });
});
