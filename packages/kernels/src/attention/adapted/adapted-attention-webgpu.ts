import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { AdaptedFormat } from '../../cache/adapted/adapted-format.ts';
import { adaptedConstants, adaptedReader, tableReader } from '../../cache/adapted/adapted-shader.ts';
import type { BlockCode } from '../blocks/block-attention-shader.ts';

/**
 * Blocks in fitted bases: a lane reads all levels of its key and makes the key of them pair by pair; sums of the values' levels become
 * numbers at the end.
 */
export function adaptedCode(format: AdaptedFormat, tables: TensorInfo): BlockCode {
  return {
    name: 'adapted_attention',
    shape: [format.dtype, format.slots, format.width, format.blockWords],
    reads: [{ name: 'tables', type: 'u32', tensor: tables }],
    constants: adaptedConstants(format),
    declarations: `
  ${tableReader}
  ${adaptedReader}`,
    beginKey: `
      let ofKeys = slot * sideWords;
      var levels = array<f32, slotWidth>();
      var channels = 0;
      for (var c = 0; c < slotWidth; c++) {
        let channel = tables[ofKeys + c];
        if (bitsOf(channel) == 0) { break; }
        levels[c] = levelAt(at + wordOf(channel), bitsOf(channel), n);
        channels = c + 1;
      }`,
    keyPair: `
        u = tableAt(ofKeys + meanAt + j);
        v = tableAt(ofKeys + meanAt + j + half);
        let row = ofKeys + backwardAt + j * slotWidth;
        for (var c = 0; c < channels; c++) {
          u += tableAt(row + c) * levels[c];
          v += tableAt(row + half * slotWidth + c) * levels[c];
        }`,
    gain: '1.0',
    beginChannel: `
          let channel = tables[(slots + slot) * sideWords + c];
          let bits = bitsOf(channel);
          // A channel without codes adds nothing.
          if (bits == 0) { continue; }`,
    value: 'levelAt(at + wordOf(channel), bits, token)',
    finish: {
      before: `
        let ofValues = (slots + slot) * sideWords;
        var number = total * tableAt(ofValues + meanAt + c);
        for (var k = 0; k < slotWidth; k++) { number += tableAt(ofValues + backwardAt + c * slotWidth + k) * sumsOfHead[k]; }`,
      number: 'number',
    },
  };
}
