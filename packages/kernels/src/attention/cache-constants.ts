import type { CacheFormat } from '../cache/cache-format.ts';
import { headerWords, numbersPerWord } from '../cache/slot-shader.ts';
import { numberWords } from './share-of-workgroup.ts';

/** How the cache lies in memory, as constants of the attention shaders. */
export function cacheConstants(format: CacheFormat) {
  const { layout, dtype } = format;
  return {
    dtype,
    allKeySlots: layout.keySlots,
    allValueSlots: layout.valueSlots,
    keySlotWidth: layout.keySlotWidth,
    valueSlotWidth: layout.valueSlotWidth,
    keySlotWords: format.keySlotWords,
    valueSlotWords: format.valueSlotWords,
    entryWords: format.entryWords,
    keyNumberWords: numberWords(layout.keySlotWidth, format),
    valueNumberWords: numberWords(layout.valueSlotWidth, format),
    headerSize: headerWords(dtype),
    perWord: numbersPerWord[dtype],
  };
}
