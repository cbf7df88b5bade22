/**
 * What Thrift's compact protocol writes: a number is an i32, a bigint an i64, a text a binary, an array a list, and an object a structure,
 * whose keys are the numbers of its fields.
 */
type Value = number | bigint | string | object;

const types = { i32: 5, i64: 6, binary: 8, list: 9, structure: 12 };

function typeOf(value: Value): number {
  if (typeof value === 'number') return types.i32;
  if (typeof value === 'bigint') return types.i64;
  if (typeof value === 'string') return types.binary;
  return Array.isArray(value) ? types.list : types.structure;
}

function varint(value: bigint | number): number[] {
  const bytes: number[] = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 127n) | 128);
  }
}

const zigzag = (value: bigint | number) => varint(BigInt(value) * 2n);

function encodeValue(value: Value): number[] {
  if (typeof value === 'number' || typeof value === 'bigint') return zigzag(value);
  if (typeof value === 'string') return [...varint(value.length), ...Buffer.from(value)];
  if (Array.isArray(value)) return [(value.length << 4) | typeOf(value[0]), ...value.flatMap(encodeValue)];
  let last = 0;
  const fields = Object.entries<Value>(value as Record<string, Value>).flatMap(([key, field]) => {
    const delta = Number(key) - last;
    last = Number(key);
    return [(delta << 4) | typeOf(field), ...encodeValue(field)];
  });
  return [...fields, 0];
}

const encodings = { plain: 0, rleDictionary: 8, deltaBinaryPacked: 5 };
const pages = { data: 0, dictionary: 2 };

function page(kind: keyof typeof pages, content: readonly number[], header: object): number[] {
  return [...encodeValue({ 1: pages[kind], 2: content.length, 3: content.length, ...header }), ...content];
}

/** A file of one required column without compression, of pages that are there already. */
function fileOf(column: string, type: number, values: number, encoding: number, parts: readonly number[][]): number[] {
  const magic = [...Buffer.from('PAR1')];
  const content = parts.flat();
  const first = BigInt(magic.length);
  const chunk = {
    1: type,
    2: [encoding],
    3: [column],
    4: 0,
    5: BigInt(values),
    6: BigInt(content.length),
    7: BigInt(content.length),
    9: parts.length > 1 ? first + BigInt(parts[0]!.length) : first,
    ...(parts.length > 1 && { 11: first }),
  };
  const footer = encodeValue({
    1: 1,
    2: [
      { 4: 'schema', 5: 1 },
      { 1: type, 3: 0, 4: column },
    ],
    3: BigInt(values),
    4: [{ 1: [{ 2: first, 3: chunk }], 2: BigInt(content.length), 3: BigInt(values) }],
  });
  const length = new Uint8Array(new Uint32Array([footer.length]).buffer);
  return [...magic, ...content, ...footer, ...length, ...magic];
}

/** So many texts 'x', which a dictionary holds once: a file of some hundred bytes. */
export function repeatedTexts(column: string, values: number): Uint8Array<ArrayBuffer> {
  const dictionary = page('dictionary', [1, 0, 0, 0, 120], { 7: { 1: 1, 2: encodings.plain } });
  // One bit a value; one run of all of them.
  const run = [1, ...varint(BigInt(values) * 2n), 0];
  const data = page('data', run, { 5: { 1: values, 2: encodings.rleDictionary, 3: 3, 4: 3 } });
  return Uint8Array.from(fileOf(column, 6, values, encodings.rleDictionary, [dictionary, data]));
}

/** So many 32-bit numbers, all the same, in one block. */
export function repeatedNumbers(column: string, values: number): Uint8Array<ArrayBuffer> {
  // Size of the block, parts of it, values, the first value, the least difference, bits of the part.
  const block = [...varint(2 ** 31 - 128), 1, ...varint(values), 0, 0, 0];
  const data = page('data', block, { 5: { 1: values, 2: encodings.deltaBinaryPacked, 3: 3, 4: 3 } });
  return Uint8Array.from(fileOf(column, 1, values, encodings.deltaBinaryPacked, [data]));
}
