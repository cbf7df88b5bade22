import type { ModelSource } from '@kvlr/core';
import { configFromModelShape } from '../config/config-from-model-shape.ts';
import { auxiliaryFiles } from '../files/auxiliary-files.ts';
import { fileMissing } from '../files/file-errors.ts';
import type { HuggingFaceCheckpoint } from '../model/open-checkpoint.ts';
import type { OnnxFile } from './onnx-files.ts';
import type { OnnxFloatDtype } from './onnx-format.ts';

/**
 * The files beside the graph: the source's tokenizer and generation files, and config.json with the heads of the model and
 * a section for transformers.js: which file to take, the type of the cache, and how many parts hold the weights.
 * Throws 'file-missing' without a tokenizer.json.
 */
export async function onnxSmallFiles(
  model: ModelSource,
  source: HuggingFaceCheckpoint,
  files: readonly OnnxFile[],
  dtype: OnnxFloatDtype,
): Promise<Record<string, Uint8Array>> {
  const copied = await auxiliaryFiles(source.files);
  if (!('tokenizer.json' in copied)) throw fileMissing(source.location, 'tokenizer.json');
  const dtypeName = dtype === 'F32' ? 'float32' : 'float16';
  const [main, ...parts] = files;
  const config = {
    ...configFromModelShape(model.shape, source.architecture, dtypeName, source.config),
    'transformers.js_config': {
      dtype: dtype === 'F32' ? 'fp32' : 'fp16',
      kv_cache_dtype: { fp16: 'float16' },
      ...(parts.length > 0 && { use_external_data_format: { [main!.name]: parts.length } }),
    },
  };
  return {
    // transformers.js looks for this file, and can do without what would stand in it.
    'tokenizer_config.json': encodeJson({ tokenizer_class: 'PreTrainedTokenizerFast' }),
    ...copied,
    'config.json': encodeJson(config),
  };
}

function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
}
