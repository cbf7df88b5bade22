export { asciiTokenizerFiles } from './ascii-tokenizer-files.ts';
export { differenceByRange, expectClose } from './expect-close.ts';
export { llamaTensorName } from './llama-tensor-name.ts';
export { memoryTensorSource } from './memory-tensor-source.ts';
export { oracleLogits } from './oracle-decoder.ts';
export { oracleStatistics } from './oracle-statistics.ts';
export { createPlantedModel, type PlantedModelSettings } from './planted-model.ts';
export { createTinyModel, randomTokenIds, type TinyModel, type TinyModelSettings } from './tiny-model.ts';
export { useSoftwareGpu } from './use-software-gpu.ts';
