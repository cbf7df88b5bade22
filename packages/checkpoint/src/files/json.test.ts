import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatJson, parseJson } from './json.ts';

describe('parseJson', () => {
  it('reads what JSON.parse reads', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(undefined, 1, '\t'), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(parseJson(text).value).toEqual(JSON.parse(text));
      }),
    );
    expect(parseJson('{"__proto__": 1, "a": "\\u00e9\\"\\n"}').value).toEqual(
      JSON.parse('{"__proto__":1,"a":"é\\"\\n"}'),
    );
  });

  it('reads the numbers that only Python writes', () => {
    expect(parseJson('[NaN, Infinity, -Infinity]').value).toEqual([
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
    ]);
  });

  it.each([
    ['{"a": 1', "the end in place of ',' or '}'"],
    ['{"a": 01}', '"1}"'],
    ['{a: 1}', 'in place of a key'],
    ['[1,]', 'in place of a value'],
    ['"open', 'a string with an end'],
    ['{} {}', 'in place of the end'],
    ['', 'the end in place of a value'],
    ['['.repeat(6000), 'nesting deeper than 200 levels'],
  ])('refuses %.12s', (text, reason) => {
    expect(() => parseJson(text)).toThrow(reason);
  });

  it('refuses equal keys where they are forbidden, and otherwise takes the last', () => {
    expect(parseJson('{"a": 1.0, "a": 2}').value).toEqual({ a: 2 });
    expect(() => parseJson('{"a": {"b": 1, "b": 1}}', { refuseEqualKeys: true })).toThrow('the key "b" twice');
  });

  it('takes long strings', () => {
    const long = 'a\\n'.repeat(1_000_000);
    expect(parseJson(`"${long}"`).value).toBe(JSON.parse(`"${long}"`));
  });
});

describe('formatJson', () => {
  it('writes what JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(formatJson(value)).toBe(`${JSON.stringify(value, null, 2)}\n`);
      }),
    );
  });

  it('spells numbers as they were, and those that changed anew', () => {
    const text =
      '{"factor": 2.0, "rope_theta": 1e4, "aux": {"big": 12345678901234567890, "list": [0.0, NaN]}, "heads": 4.0}';
    const source = parseJson(text);
    const { factor, rope_theta, aux } = source.value as Record<string, unknown>;
    expect(formatJson({ added: 2, factor, rope_theta, aux: { ...(aux as object) }, heads: 2 }, source)).toBe(`{
  "added": 2,
  "factor": 2.0,
  "rope_theta": 1e4,
  "aux": {
    "big": 12345678901234567890,
    "list": [
      0.0,
      NaN
    ]
  },
  "heads": 2
}
`);
  });

  it('does not give the spelling of a key that came twice', () => {
    const source = parseJson('{"a": 2.0, "a": 2}');
    expect(formatJson(source.value, source)).toBe('{\n  "a": 2\n}\n');
  });
});
