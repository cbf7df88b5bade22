export { createDirectoryFiles } from './node/directory-files.ts';
export { downloadHubModel, type HubDownloadSettings } from './node/download-hub-model.ts';
export { openCheckpointDirectory } from './node/open-checkpoint-directory.ts';
export { type OpenSourceSettings, openSource } from './node/open-source.ts';
export { requireWritable } from './node/require-writable.ts';
export { type WriteCheckpointSettings, writeCheckpointDirectory } from './node/write-checkpoint-directory.ts';
export { type WriteGgufSettings, writeGguf } from './node/write-gguf.ts';
export { type WriteOnnxSettings, writeOnnxDirectory } from './node/write-onnx-directory.ts';
