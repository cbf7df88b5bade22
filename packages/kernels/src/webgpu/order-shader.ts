/** WGSL `orderOf`: whole numbers in the order of floats. */
export const orderShader = `
  fn orderOf(value: f32) -> u32 {
    let bits = bitcast<u32>(value);
    return select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
  }`;
