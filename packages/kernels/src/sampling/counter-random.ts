/** Mixes the 32 bits of a number: lowbias32 (Chris Wellons, "Prospecting for Hash Functions", public domain). */
function mixBits(value: number): number {
  let mixed = value ^ (value >>> 16);
  mixed = Math.imul(mixed, 0x7feb352d);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x846ca68b);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** Spreads neighbouring counters over the 32 bits: 2^32 divided by the golden ratio. */
const counterStride = 0x9e3779b9;

/** The key of one step of generation: from it follow the numbers of every row of a batch and every token. */
export function keyOfStep(seed: number, step: number): number {
  return mixBits(mixBits(seed | 0) + Math.imul(step, counterStride));
}

/** The key of one row of a batch. */
export function keyOfRow(stepKey: number, row: number): number {
  return mixBits(stepKey + Math.imul(row + 1, counterStride));
}

/**
 * A Gumbel number for one token: -ln(-ln(1 - w)) with w one of the 2^23 middles of equal parts of (0, 1). Near 0, where the
 * greatest Gumbel numbers come from, a series stands for the inner logarithm, which single precision would spoil.
 */
export function gumbelOfToken(rowKey: number, token: number): number {
  const w = ((mixBits(rowKey + Math.imul(token, counterStride)) >>> 9) + 0.5) / 2 ** 23;
  const series = w * (1 + w * (1 / 2 + w * (1 / 3 + w * (1 / 4 + w * (1 / 5 + w / 6)))));
  return -Math.log(w < 0.0625 ? series : -Math.log(1 - w));
}

/** The same functions in WGSL: mixBits(u32), keyOfRow(u32, u32), gumbelOfToken(u32, u32). */
export const counterRandomShader = `
  fn mixBits(value: u32) -> u32 {
    var mixed = (value ^ (value >> 16u)) * 0x7feb352du;
    mixed = (mixed ^ (mixed >> 15u)) * 0x846ca68bu;
    return mixed ^ (mixed >> 16u);
  }
  fn keyOfRow(stepKey: u32, row: u32) -> u32 { return mixBits(stepKey + (row + 1u) * ${counterStride}u); }
  fn gumbelOfToken(rowKey: u32, token: u32) -> f32 {
    let w = (f32(mixBits(rowKey + token * ${counterStride}u) >> 9u) + 0.5) / 8388608.0;
    let series = w * (1.0 + w * (1.0 / 2.0 + w * (1.0 / 3.0 + w * (1.0 / 4.0 + w * (1.0 / 5.0 + w / 6.0)))));
    return -log(select(-log(1.0 - w), series, w < 0.0625));
  }`;
