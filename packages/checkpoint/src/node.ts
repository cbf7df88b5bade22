export { createDirectoryFiles } from './node/directory-files.ts';
export { openCheckpointDirectory } from './node/open-checkpoint-directory.ts';
export { type WriteCheckpointSettings, writeCheckpointDirectory } from './node/write-checkpoint-directory.ts';
export { type WriteGgufSettings, writeGguf } from './node/write-gguf.ts';
export { type WriteOnnxSettings, writeOnnxDirectory } from './node/write-onnx-directory.ts';
