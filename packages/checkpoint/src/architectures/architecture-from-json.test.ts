import { readFile } from 'node:fs/promises';
import { differenceByRange, oracleLogits, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { createMemoryFiles } from '../files/memory-files.ts';
import { openCheckpoint } from '../model/open-checkpoint.ts';
import { encodeSafetensors } from '../safetensors/encode-safetensors.ts';
import { editJson, tinyCheckpointFiles } from '../testing/tiny-checkpoint-files.ts';
import { architectureFromJson } from './architecture-from-json.ts';
import { architectures } from './find-architecture.ts';

const label = './my-family.json';
const path = new URL('../../../../examples/architectures/renamed.json', import.meta.url);
const renamed = () => readFile(path, 'utf8').then(JSON.parse);

describe('architectureFromJson', () => {
  it.each(architectures)('takes a whole descriptor: $name', (architecture) => {
    expect(architectureFromJson(JSON.parse(JSON.stringify(architecture)), label)).toEqual(architecture);
  });

  it('opens a model whose tensors have the names of the example', async () => {
    const descriptor = architectureFromJson(await renamed(), label);
    const llama = architectures.find(({ name }) => name === 'llama')!;
    expect(descriptor.tensors.gateWeight).toBe(llama.tensors.gateWeight);
    const files = await tinyCheckpointFiles({ seed: 3 });
    const original = await openCheckpoint(createMemoryFiles(files));
    const newNames = Object.entries(llama.tensors).map(([role, template]) => [
      template,
      descriptor.tensors[role as keyof typeof llama.tensors],
    ]);
    const rename = (name: string) => {
      const layer = /layers\.(\d+)\./.exec(name)?.[1] ?? '';
      const fill = (template: string) => template.replace('{layer}', layer);
      return fill(newNames.find(([template]) => fill(template!) === name)![1]!);
    };
    const tensors = await Promise.all(
      original.tensors.list().map(async ({ name, dtype, shape }) => {
        return { name: rename(name), dtype, shape, bytes: await original.tensors.readBytes(name) };
      }),
    );
    const renamedFiles = { ...files, 'model.safetensors': encodeSafetensors(tensors) };
    editJson(renamedFiles, 'config.json', (config) => {
      config.model_type = 'renamed';
    });
    const memoryFiles = createMemoryFiles(renamedFiles);
    await expect(openCheckpoint(memoryFiles)).rejects.toMatchObject({ code: 'unknown-architecture' });
    const model = await openCheckpoint(memoryFiles, { architectures: [descriptor] });
    expect(model.shape).toEqual({ ...original.shape, architecture: 'renamed' });
    expect(model.tensorName('keyWeight', 1)).toBe('transformer.blocks.1.attention.key.weight');
    const tokenIds = randomTokenIds(8, 100);
    const [expected, logits] = await Promise.all([original, model].map((one) => oracleLogits(one, tokenIds)));
    expect(differenceByRange(logits!, expected!)).toBe(0);
  });

  it.each<[string, (json: Record<string, unknown> & { tensors: Record<string, unknown> }) => unknown, RegExp]>([
    ['a list', () => [], /the file to be an object/],
    ['an unknown base', (json) => ({ ...json, like: 'gpt2' }), /like to be one of llama, .* got "gpt2"/],
    ['no base and no biases', ({ like: _, ...json }) => json, /biases to be an object, got none/],
    ['no name', (json) => ({ ...json, name: '' }), /name to be a text/],
    ['no model types', (json) => ({ ...json, modelTypes: [] }), /modelTypes to be a list/],
    ['a misspelt field', (json) => ({ ...json, tensorNames: {} }), /tensorNames to be one of the fields like, name/],
    ['a misspelt role', (json) => ({ ...json, tensors: { key: 'a.{layer}' } }), /tensors\.key to be one of the roles/],
    ['no layer', (json) => ({ ...json, tensors: { keyWeight: 'key' } }), /keyWeight to be a name with '\{layer\}'/],
    ['a layer too many', (json) => ({ ...json, tensors: { finalNorm: 'n.{layer}' } }), /finalNorm .* without/],
    [
      'one name for two roles',
      (json) => ({ ...json, tensors: { keyWeight: 'a.{layer}', valueWeight: 'a.{layer}' } }),
      /tensors\.valueWeight to be another name than tensors\.keyWeight/,
    ],
    ['a bias rule in words', (json) => ({ ...json, biases: { output: 'never' } }), /biases\.output to be \{ "always"/],
    ['a default as text', (json) => ({ ...json, defaults: { rms_norm_eps: '1' } }), /rms_norm_eps to be a number/],
    ['an unknown row order', (json) => ({ ...json, gguf: { architecture: 'x', rowOrder: 'both' } }), /gguf\.rowOrder/],
    [
      'a refusal without reason',
      (json) => ({ ...json, refused: [{ field: 'a', when: 'true' }] }),
      /refused to be a text/,
    ],
  ])('refuses %s', async (_, change, message) => {
    const json = change(await renamed());
    const work = () => architectureFromJson(json, label);
    expect(work).toThrow(expect.objectContaining({ code: 'plugin-invalid' }));
    expect(work).toThrow(message);
  });
});
