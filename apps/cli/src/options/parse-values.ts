import { type CacheDtype, cacheDtypes } from '@kvlr/core';
import { InvalidArgumentError } from 'commander';

/** A whole number of at least one. */
export function parseCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('Expected a whole number of at least 1.');
  return value;
}

/** A number of tokens: '4096', or '32k' for 32 times 1,024. */
export function parseTokens(text: string): number {
  const match = /^(\d+)(k?)$/i.exec(text.trim());
  if (!match) throw new InvalidArgumentError('Expected a number of tokens such as 4096 or 32k.');
  return parseCount(match[1]!) * (match[2] === '' ? 1 : 1024);
}

/** Whole numbers of at least one with commas between them: '512,2048'. */
export function parseCounts(text: string): number[] {
  return text.split(',').map((part) => parseCount(part.trim()));
}

/** A whole number of at least zero. */
export function parseSeed(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value)) throw new InvalidArgumentError('Expected a whole number.');
  return value;
}

/** One of several parts: '3/16'. */
export function parsePart(text: string): { part: number; parts: number } {
  const [part = 0, parts = 0] = /^(\d+)\/(\d+)$/.exec(text.trim())?.slice(1).map(Number) ?? [];
  if (part < 1 || part > parts) throw new InvalidArgumentError('Expected a part such as 3/16, from 1/16 to 16/16.');
  return { part, parts };
}

/** A port to listen on; 0 is any free one. */
export function parsePort(text: string): number {
  const port = parseSeed(text);
  if (port > 65535) throw new InvalidArgumentError('Expected a port from 0 to 65535.');
  return port;
}

/** A share: '50%', '1/2' or '0.5'. */
export function parseShare(text: string): number {
  const fraction = /^\s*(\d+)\s*\/\s*(\d+)\s*$/.exec(text);
  const percent = /^(.+)%\s*$/.exec(text);
  const share = fraction
    ? Number(fraction[1]) / Number(fraction[2])
    : percent
      ? Number(percent[1]) / 100
      : Number(text.trim() || Number.NaN);
  if (!(share > 0 && share <= 1)) throw new InvalidArgumentError('Expected a share such as 50%, 1/2 or 0.5.');
  return share;
}

/** A number of at least zero. */
export function parseNonNegative(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value < Number.POSITIVE_INFINITY)) {
    throw new InvalidArgumentError('Expected a number of at least 0.');
  }
  return value;
}

/** A number above zero. */
export function parsePositive(text: string): number {
  const value = parseNonNegative(text);
  if (value === 0) throw new InvalidArgumentError('Expected a number above 0.');
  return value;
}

/** Bytes: '500MB', '2GB', '5GiB' or a plain count. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(K|M|G|T)?(i)?B?$/i.exec(text.trim());
  if (!match) throw new InvalidArgumentError('Expected a size such as 2GB or 500MiB.');
  const power = ' KMGT'.indexOf((match[2] ?? ' ').toUpperCase());
  const bytes = Math.floor(Number(match[1]) * (match[3] ? 1024 : 1000) ** power);
  if (bytes < 1) throw new InvalidArgumentError('Expected a size of at least one byte.');
  return bytes;
}

/** Dtypes of the cache with commas between them: 'f16,int8'. */
export function parseCacheDtypes(text: string): CacheDtype[] {
  return text.split(',').map((part) => {
    const dtype = cacheDtypes.find((name) => name === part.trim());
    if (dtype === undefined) throw new InvalidArgumentError(`Expected some of ${cacheDtypes.join(',')}.`);
    return dtype;
  });
}

/** How wide heads are to be: in widths of the model's heads, or in numbers. */
export type HeadWidthChoice = { times: number } | { numbers: number } | 'auto';

/** The width of heads: '2x', '128' or 'auto'. */
export function parseHeadWidth(text: string): HeadWidthChoice {
  if (text.trim() === 'auto') return 'auto';
  const match = /^(\d+)(x?)$/i.exec(text.trim());
  const value = Number(match?.[1]);
  if (!match || value < 1) {
    throw new InvalidArgumentError("Expected a width such as 2x (times the model's), 128 (numbers) or auto.");
  }
  return match[2] === '' ? { numbers: value } : { times: value };
}

/** Widths with commas between them, in widths of the model's heads: '1x,2x,4x'. */
export function parseHeadWidths(text: string): number[] {
  return text.split(',').map((part) => {
    const width = parseHeadWidth(part);
    if (width === 'auto' || !('times' in width)) throw new InvalidArgumentError('Expected widths such as 1x,2x,4x.');
    return width.times;
  });
}

/** Shares with commas between them: '50%,25%' or '1/2,1/4'. */
export function parseShares(text: string): number[] {
  return text.split(',').map(parseShare);
}

/** Names with commas between them: 'piqa,arc_easy'. */
export function parseNames(text: string): string[] {
  const names = text.split(',').map((name) => name.trim());
  if (names.some((name) => name === '')) throw new InvalidArgumentError('Expected names with commas between them.');
  return names;
}
