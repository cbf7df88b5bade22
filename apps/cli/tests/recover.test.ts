import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { formatRecipeYaml, parseRecipe, parseRecipeYaml } from '@kvlr/pipeline';
import { expectClose, tinyDistillation, tinyRecipe } from '@kvlr/testkit';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const texts = [...tiny.texts, '--backend', 'cpu'];

const recipe = tiny.path('distil.yaml');
const recovery = { ...tinyRecipe.recovery, preset: 'none' as const, distillation: { ...tinyDistillation, steps: 2 } };
await writeFile(recipe, formatRecipeYaml(parseRecipe({ ...tinyRecipe, recovery })));

const place = (name: string) => tiny.path(name);

async function tensorsOf(name: string): Promise<Map<string, Float32Array>> {
  const { tensors, close } = await openCheckpointDirectory(place(name));
  const values = new Map<string, Float32Array>();
  for (const { name } of tensors.list()) values.set(name, await tensors.readFloat32(name));
  await close();
  return values;
}

describe('kvlr recover', () => {
  it('trains a checkpoint back towards its teacher', async () => {
    const plain = ['compress', place('model'), '-o', place('small'), '--recipe', recipe, '--distill', 'none', ...texts];
    expect((await runCli(plain)).exitCode).toBe(0);
    const recover = ['recover', place('small'), '--teacher', place('model'), '-o', place('recovered')];
    const dry = await runCli([...recover, '--recipe', recipe, ...texts, '--dry-run']);
    expect(dry.out).toMatch(/nothing was written[\s\S]*Memory {2}about .*[\s\S]*\(distillation .*evaluation/);
    expect(existsSync(place('recovered'))).toBe(false);
    const { exitCode, out, error } = await runCli([...recover, '--recipe', recipe, ...texts]);
    expect(exitCode, error).toBe(0);
    expect(out).toMatch(/Held out {5}KL divergence \d\.\d{4} -> \d\.\d{4}/);
    expect(error).toMatch(/Training: 2 steps of \d+ tokens, about .* s each and .* in all on native code .* of memory/);
    const written = parseRecipeYaml(await readFile(place('recovered/recipe.yaml'), 'utf8'));
    expect(written).toMatchObject({
      method: 'rope-averaged-received',
      keyValueHeads: 2,
      recovery: { distillation: { steps: 2 } },
    });
    const refused = await runCli([...recover, '--recipe', recipe, ...texts]);
    expect(refused).toMatchObject({ exitCode: 1, error: expect.stringContaining('--overwrite') });
  });

  it('wants a teacher, and something to train', async () => {
    const without = await runCli(['recover', place('small')]);
    expect(without).toMatchObject({ exitCode: 2, error: expect.stringContaining('--teacher') });
    const nothing = [
      'recover',
      place('small'),
      '--teacher',
      place('model'),
      '-o',
      place('nothing'),
      '--distill',
      'none',
    ];
    const refused = await runCli([...nothing, ...texts]);
    expect(refused).toMatchObject({ exitCode: 2, error: expect.stringContaining('--distill light or full') });
    const untaught = await runCli([...nothing, '--recover', 'light', '--instructions', place('none.jsonl')]);
    expect(untaught).toMatchObject({ exitCode: 2, error: expect.stringContaining('--instructions') });
    const itself = await runCli(['recover', 'embedded', '--teacher', 'embedded', '-o', place('nothing')]);
    expect(itself).toMatchObject({ exitCode: 2, error: expect.stringContaining('Compress the model first') });
  });
});

describe('kvlr recover without a teacher', () => {
  it('trains adapters on the answers of instructions, and merges what it has written of them to the same result', async () => {
    const lines = Array.from({ length: 6 }, (_, index) => ({ prompt: `${index}+1=`, response: `${index + 1}` }));
    const instructions = place('instructions.jsonl');
    await writeFile(instructions, lines.map((line) => JSON.stringify(line)).join('\n'));
    const train = ['recover', place('model'), '-o', place('tuned'), '--recipe', recipe, '--instructions', instructions];
    const { exitCode, out, error } = await runCli([...train, '--next-token', '1', '--lora', '2', ...texts]);
    expect(exitCode, error).toBe(0);
    expect(out).toMatch(/Held out {5}perplexity/);
    const adapter = place('tuned.run/6-distillation/adapter');
    const config = JSON.parse(await readFile(join(adapter, 'adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({ peft_type: 'LORA', r: 2, target_modules: ['q_proj', 'k_proj', 'v_proj', 'o_proj'] });
    const merge = ['recover', place('model'), '--adapter', adapter, '-o', place('merged'), ...texts];
    expect((await runCli(merge)).exitCode).toBe(0);
    const [model, tuned, merged] = [await tensorsOf('model'), await tensorsOf('tuned'), await tensorsOf('merged')];
    for (const [name, values] of tuned) expectClose(merged.get(name)!, values, 1e-6);
    const trained = 'model.layers.0.self_attn.o_proj.weight';
    expect(tuned.get(trained)).not.toEqual(model.get(trained));
  });

  it('says where an adapter is not one', async () => {
    const refused = await runCli([
      'recover',
      place('model'),
      '--adapter',
      place('nowhere'),
      '-o',
      place('x'),
      ...texts,
    ]);
    expect(refused).toMatchObject({ exitCode: 1, error: expect.stringContaining('adapter_config.json') });
  });
});

describe('kvlr compress --distill', () => {
  it('distils with the numbers of the recipe', async () => {
    const argumentList = [
      'compress',
      place('model'),
      '-o',
      place('distilled'),
      '--recipe',
      recipe,
      '--distill',
      'full',
    ];
    const { exitCode, error } = await runCli([...argumentList, ...texts]);
    expect(exitCode, error).toBe(0);
    const { recovery } = parseRecipeYaml(await readFile(place('distilled/recipe.yaml'), 'utf8'));
    expect(recovery.distillation).toMatchObject({ preset: 'full', steps: 2 });
    expect(await readFile(place('distilled.run/report.md'), 'utf8')).toContain('Distilled on 64 tokens');
  });
});
