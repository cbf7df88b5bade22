import { mkdir, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createRandomModel, smolMultiHeadShape, withKeyValueHeads } from '@kvlr/benchmark';
import { onnxFiles } from '@kvlr/checkpoint';
import { openCheckpointDirectory, writeGguf } from '@kvlr/checkpoint/node';
import { referenceModelDirectory } from '@kvlr/reference-model/node';

/**
 * The models that every engine runs, with their files for the engines that read files: `embedded`, and random weights of a size with
 * some KV heads: `embedded-2` (the embedded model's shape, 2 KV heads), `smollm2-8`.
 */
export async function prepareSubjects(names, directory) {
  const embedded = await openCheckpointDirectory(referenceModelDirectory);
  const subjects = [];
  for (const name of names) subjects.push(await prepareSubject(name, embedded, join(directory, name)));
  return subjects;
}

async function prepareSubject(name, embedded, directory) {
  await mkdir(directory, { recursive: true });
  const [family, heads] = name.split('-');
  if (name === 'embedded') {
    await writeGguf(join(directory, 'model.gguf'), embedded, embedded, { overwrite: true });
    await writeOnnx(embedded, directory);
    return {
      name: 'embedded model',
      files: name,
      directory,
      shape: embedded.shape,
      source: embedded,
      checkpoint: embedded,
    };
  }
  const shapes = { embedded: embedded.shape, smollm2: smolMultiHeadShape };
  if (!(family in shapes && /^\d+$/.test(heads))) {
    throw new Error(`--models: expected embedded, embedded-N or smollm2-N with N KV heads, got ${name}`);
  }
  const shape = withKeyValueHeads(shapes[family], Number(heads));
  const seed = 0;
  const source = createRandomModel(shape, seed);
  await writeOnnx(source, directory);
  const title = `${family === 'smollm2' ? 'SmolLM2-135M (multi-head)' : 'embedded'} shape, ${heads} KV heads, random weights`;
  return { name: title, files: name, directory, shape, source, seed };
}

/** One file with the weights inside, and the configuration that transformers.js reads. */
async function writeOnnx(model, directory) {
  const { shape } = model;
  const config = {
    ...{ model_type: 'llama', architectures: ['LlamaForCausalLM'], vocab_size: shape.vocabSize },
    ...{ hidden_size: shape.hiddenSize, num_hidden_layers: shape.numLayers, head_dim: shape.headDim },
    ...{ num_attention_heads: shape.numAttentionHeads, num_key_value_heads: shape.numKeyValueHeads },
  };
  await writeFile(join(directory, 'config.json'), JSON.stringify(config));
  for (const file of onnxFiles(model, { dtype: 'F32' })) {
    const handle = await open(join(directory, file.name), 'w');
    try {
      await file.write({ write: async (bytes) => void (await handle.writeFile(bytes)) });
    } finally {
      await handle.close();
    }
  }
}
