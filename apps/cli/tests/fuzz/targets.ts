import { gzipSync } from 'node:zlib';
import { collectStatistics, readTextFiles, statisticsFromBundle, statisticsToBundle } from '@kvlr/calibration';
import {
  createMemoryFiles,
  decodeTensorBundle,
  encodeGguf,
  encodeSafetensors,
  encodeTensorBundle,
  type HuggingFaceCheckpoint,
  openCheckpoint,
  openSource,
} from '@kvlr/checkpoint';
import { formatRecipeYaml, parseRecipe, parseRecipeYaml } from '@kvlr/pipeline';
import { loadChatTemplate, loadModel } from '@kvlr/runtime';
import { createTinyModel, randomTokenIds, tinyCheckpointFiles, tinyRecipe } from '@kvlr/testkit';
import { dataTargets } from './data-targets.ts';
import {
  decode,
  encode,
  type Input,
  joined,
  mutateBytes,
  mutateHeader,
  mutateJson,
  mutateText,
  type Target,
  withOneWrong,
} from './mutate.ts';
import { runtimeTargets } from './runtime-targets.ts';

const chatTemplate = `{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}
<|{{ message['role'] | upper }}|>{{ message.content | trim }}{{ eos_token }}{% endfor %}
{%- set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}
{% if add_generation_prompt %}<|ASSISTANT|>{% endif %}{{ messages | tojson }}`;
const templatePieces = [
  ...[
    '{{',
    '}}',
    '{%',
    '%}',
    '{#',
    'range(1000)',
    'range(0, 10, 0)',
    '| tojson',
    '| join',
    '[0]',
    '[-1]',
    '[::2]',
    '[:',
    ' * 1000',
  ],
  ...[
    'messages',
    'namespace()',
    'loop.index',
    'none',
    '{% for i in range(100) %}',
    '{% endfor %}',
    '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}',
  ],
  ...["'a' * 10", '{% set x = x + x %}', 'strftime_now("%Y")', '.__proto__', '.constructor', '"', "'", '(', ')'],
];

async function readAll(checkpoint: HuggingFaceCheckpoint): Promise<void> {
  for (const { name } of checkpoint.tensors.list())
    await checkpoint.tensors.readFloat32(name).catch(only('unsupported-feature'));
  const tokenizer = await checkpoint.tokenizer();
  for (const text of ['The sea was calm.', '<s> aaaaaaaaaaaaaaaaaaaab \u00e4\ud83d\ude00']) {
    const ids = tokenizer.encode(text, { recogniseSpecialTokens: true });
    if (ids.some((id) => !Number.isInteger(id) || id < 0)) throw new Error(`ids ${ids}`);
    if (ids.every((id) => id < tokenizer.vocabSize)) tokenizer.decode(ids);
  }
  if ((await checkpoint.files.list()).includes('chat_template.jinja')) await render(checkpoint.files);
}

async function render(files: HuggingFaceCheckpoint['files']): Promise<void> {
  const template = await loadChatTemplate(files);
  template.render([{ role: 'user', content: 'Hello' }]);
  template.render([
    { role: 'system', content: '' },
    { role: 'user', content: '{{ x }}' },
  ]);
}

/** Passes the errors of this code by, and throws the others on. */
function only(code: string) {
  return (error: unknown) => {
    if ((error as { code?: string }).code !== code) throw error;
  };
}

/** The targets, each made from sound files. */
export async function createTargets(): Promise<Record<string, Target>> {
  const texts = await tinyCheckpointFiles();
  const files: Input = Object.fromEntries(
    Object.entries(texts).map(([name, content]) => [name, typeof content === 'string' ? encode(content) : content]),
  );
  files['generation_config.json'] = encode('{"bos_token_id": 1, "eos_token_id": [2], "pad_token_id": null}');
  const checkpoint = await openCheckpoint(createMemoryFiles(files));
  const sharded = await shardsOf(checkpoint, files);
  const gguf = await ggufOf(checkpoint);
  const recipe = formatRecipeYaml(parseRecipe(tinyRecipe));
  const rows = '{"text": "The sea was calm.", "source": "sea"}\n{"text": "Hills rose."}\n\n{"text": ""}\n';
  const model = await loadModel(createTinyModel(), { backend: 'cpu', weights: 'f32' });
  const provenance = { modelId: model.id, textHash: '', seed: 0 };
  const statistics = await collectStatistics({ activations: model, windows: [randomTokenIds(8, 50)], provenance });
  const bundle = encodeTensorBundle(statisticsToBundle(statistics));
  model.dispose();
  const open = async (input: Input) => readAll(await openCheckpoint(createMemoryFiles(input)));
  return {
    safetensors: { make: (dice) => withOneWrong(files, ['model.safetensors'], dice), read: open },
    config: { make: (dice) => withOneWrong(files, ['config.json', 'generation_config.json'], dice), read: open },
    tokenizer: { make: (dice) => withOneWrong(files, ['tokenizer.json', 'tokenizer_config.json'], dice), read: open },
    index: { make: (dice) => withOneWrong(sharded, ['model.safetensors.index.json'], dice), read: open },
    gguf: {
      make: (dice) => ({ 'model.gguf': mutateBytes(gguf, dice, dice.pick([64, 1000, 20_000])) }),
      read: async (input) => readAll(await openSource(createMemoryFiles(input))),
    },
    template: {
      make: (dice) => ({ 'chat_template.jinja': encode(mutateText(chatTemplate, templatePieces, dice)) }),
      read: (input) => render(createMemoryFiles(input)),
    },
    texts: {
      make(dice) {
        const plain = encode(
          dice.below(2) === 0 ? rows : `${mutateJson('{"text": "The sea.", "source": "a"}', dice)}\n`,
        );
        const text = dice.below(3) === 0 ? Uint8Array.from(gzipSync(plain)) : plain;
        return { [dice.pick(['a.jsonl', 'a.txt', 'a.json', 'a.parquet', 'a.gz'])]: mutateBytes(text, dice) };
      },
      read: (input) =>
        readTextFiles(Object.entries(input).map(([name, bytes]) => ({ name, bytes: Uint8Array.from(bytes) }))),
    },
    recipe: {
      make: (dice) => ({
        'recipe.yaml': encode(
          mutateText(recipe, [': ', '- ', '\n', '{', '[', '1e9', '-1', 'null', '&a', '*a', '!!js', '  '], dice),
        ),
      }),
      read: async (input) => parseRecipeYaml(decode(input['recipe.yaml']!)),
    },
    artefact: {
      make: (dice) => ({ bundle: dice.below(2) === 0 ? mutateHeader(bundle, dice) : mutateBytes(bundle, dice, 3000) }),
      read: async (input) => statisticsFromBundle(decodeTensorBundle(input.bundle!)),
    },
    ...(await runtimeTargets()),
    ...(await dataTargets()),
  };
}

/** The same checkpoint in two files with an index. */
async function shardsOf(checkpoint: HuggingFaceCheckpoint, files: Input): Promise<Input> {
  const { 'model.safetensors': _, ...rest } = files;
  const names = checkpoint.tensors.list().map(({ name }) => name);
  const half = names.length >> 1;
  const weightMap: Record<string, string> = {};
  for (const [part, chosen] of [names.slice(0, half), names.slice(half)].entries()) {
    const file = `model-0000${part + 1}-of-00002.safetensors`;
    for (const name of chosen) weightMap[name] = file;
    const tensors = chosen.map(async (name) => ({
      ...checkpoint.tensors.info(name),
      bytes: await checkpoint.tensors.readBytes(name),
    }));
    rest[file] = encodeSafetensors(await Promise.all(tensors));
  }
  rest['model.safetensors.index.json'] = encode(JSON.stringify({ metadata: { total_size: 0 }, weight_map: weightMap }));
  return rest;
}

async function ggufOf(checkpoint: HuggingFaceCheckpoint): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  const sink = {
    write: async (bytes: Uint8Array) => {
      parts.push(Uint8Array.from(bytes));
    },
  };
  await encodeGguf(checkpoint, checkpoint, sink, { dtype: 'Q8_0' });
  return joined(...parts);
}
