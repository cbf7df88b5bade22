import { readFile } from 'node:fs/promises';
import { decoderTensors } from '@kvlr/core';
import { differenceByRange, expectKvlrError, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/files.ts';
import { openCheckpoint } from '../model/open.ts';
import { tensorLayout } from '../model/stored-tensors.ts';
import { encodeSafetensors } from '../safetensors/write.ts';
import { editJson, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { architectures } from './families.ts';
import { architectureFromJson } from './schema.ts';

const file = './my-family.json';
const path = new URL('../../../../examples/architectures/renamed.json', import.meta.url);
const renamed = () => readFile(path, 'utf8').then(JSON.parse);

const families = Object.values(architectures.entries);

describe('architectureFromJson', () => {
  it.each(families)('takes a whole descriptor: $name', (architecture) => {
    expect(architectureFromJson(JSON.parse(JSON.stringify(architecture)), file)).toEqual(architecture);
  });

  it('opens a model whose tensors have the names of the example', async () => {
    const descriptor = architectureFromJson(await renamed(), file);
    const llama = architectures.get('llama');
    expect(descriptor.tensors.gateWeight).toBe(llama.tensors.gateWeight);
    const files = await tinyCheckpointFiles({ seed: 3, attentionBias: true });
    const original = await openCheckpoint(createMemoryFiles(files));
    const layout = tensorLayout(descriptor, false);
    const newNames = new Map(
      decoderTensors(original.shape).map(({ role, layer }) => {
        return [original.tensorName(role, layer), layout.tensorName(role, layer)];
      }),
    );
    const tensors = await Promise.all(
      original.tensors.list().map(async ({ name, dtype, shape }) => {
        return { name: newNames.get(name)!, dtype, shape, bytes: await original.tensors.readBytes(name) };
      }),
    );
    const renamedFiles = { ...files, 'model.safetensors': encodeSafetensors(tensors) };
    editJson(renamedFiles, 'config.json', (config) => {
      config.model_type = 'renamed';
    });
    const memoryFiles = createMemoryFiles(renamedFiles);
    await expectKvlrError(() => openCheckpoint(memoryFiles), 'unknown-architecture');
    const model = await openCheckpoint(memoryFiles, { architectures: [descriptor] });
    expect(model.shape).toEqual({ ...original.shape, architecture: 'renamed' });
    expect(model.tensorName('keyWeight', 1)).toBe('transformer.blocks.1.attention.key.weight');
    expect(model.tensorName('keyBias', 1)).toBe('transformer.blocks.1.attention.key.bias');
    const tokenIds = randomTokenIds(8, 100);
    const [expected, logits] = await Promise.all([original, model].map((one) => oracleLogits(one, tokenIds)));
    expect(differenceByRange(logits!, expected!)).toBe(0);
  });

  type Json = Record<string, unknown> & { tensors: Record<string, unknown> };
  it.each<[string, (json: Json) => unknown, string, RegExp]>([
    ['a list', () => [], '', /expected object/],
    ['an unknown base', (json) => ({ ...json, like: 'gpt5' }), 'like', /one of "llama"/],
    ['no base and no shape', ({ like: _, ...json }) => json, 'shape', /expected object/],
    ['no name', (json) => ({ ...json, name: '' }), 'name', /Too small/],
    ['no model types', (json) => ({ ...json, modelTypes: [] }), 'modelTypes', /Too small/],
    ['a misspelt field', (json) => ({ ...json, tensorNames: {} }), 'tensorNames', /Unrecognized/],
    ['a misspelt role', (json) => ({ ...json, tensors: { key: 'a.{layer}' } }), 'tensors.key', /Unrecognized/],
    ['no layer', (json) => ({ ...json, tensors: { keyWeight: 'key' } }), 'tensors.keyWeight', /name with '\{layer\}'/],
    ['a layer too many', (json) => ({ ...json, tensors: { finalNorm: 'n.{layer}' } }), 'tensors.finalNorm', /without/],
    [
      'one name for two roles',
      (json) => ({ ...json, tensors: { keyWeight: 'a.{layer}', valueWeight: 'a.{layer}' } }),
      'tensors.valueWeight',
      /another name than that of keyWeight/,
    ],
    [
      'a rule in another form',
      (json) => ({ ...json, shape: { attention: { inputBias: { always: true } } } }),
      'shape.attention.inputBias',
      /expected a constant, \{ "field"/,
    ],
    ['an unknown part', (json) => ({ ...json, shape: { experts: {} } }), 'shape.experts', /Unrecognized/],
    [
      'an unknown row order',
      (json) => ({ ...json, gguf: { architecture: 'x', rowOrder: 'both', frequencyFactors: true } }),
      'gguf.rowOrder',
      /interleaved/,
    ],
    ['a refusal without reason', (json) => ({ ...json, refused: [{ field: 'a' }] }), 'refused.0.reason', /string/],
  ])('refuses %s', async (_, change, argument, message) => {
    const json = change(await renamed());
    const error = expectKvlrError(() => architectureFromJson(json, file), 'plugin-invalid', message);
    expect(error.where).toEqual({ file, ...(argument && { argument }) });
  });
});
