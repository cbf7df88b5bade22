import { type BlockFormat, blockShape } from '../../cache/blocks/block-format.ts';
import { blockConstants, codeReader, hadamardShader, levelShader } from '../../cache/blocks/block-shader.ts';
import type { BlockCode } from './block-attention-shader.ts';

/** Blocks of channels: keys with a scale and an offset each, values rotated, with a gain for each token. */
export function channelCode(format: BlockFormat): BlockCode {
  return {
    name: 'block_attention',
    shape: blockShape(format),
    reads: [],
    constants: blockConstants(format),
    declarations: `
  ${codeReader(format)}
  ${levelShader(format)}
  fn numberAt(c: i32) -> f32 { return sumsOfHead[c]; }
  ${hadamardShader}`,
    beginKey: 'let slotAt = at + slot * slotWords;',
    keyPair: `
        let firstHeader = unpack2x16float(blocks[slotAt + j]);
        let secondHeader = unpack2x16float(blocks[slotAt + j + half]);
        u = firstHeader.y + firstHeader.x * f32(codeAt(slotAt + keyCodes + j * codeWords, n));
        v = secondHeader.y + secondHeader.x * f32(codeAt(slotAt + keyCodes + (j + half) * codeWords, n));`,
    gain: 'unpack2x16float(blocks[slotAt + gains + n / 2])[n % 2]',
    beginChannel: 'let codes = at + slot * slotWords + valueCodes + c * codeWords;',
    value: 'levelOf(codeAt(codes, token))',
    finish: { number: 'hadamardAt(c)' },
  };
}
