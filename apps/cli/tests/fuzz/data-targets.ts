import { readParquet } from '@kvlr/calibration';
import { createMemoryFiles, openCheckpoint } from '@kvlr/checkpoint';
import { KvlrError } from '@kvlr/core';
import { calibrate, MemoryRunStore, mergeStatisticsStores, parseInstructions, readStatistics } from '@kvlr/pipeline';
import { buildPrompts, documentProcessors, readDocuments, readTaskFile, type TaskFiles } from '@kvlr/tasks';
import { tinyCheckpointFiles, tinyTexts } from '@kvlr/testkit';
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
} from './mutate.ts';

/** Tasks with their data, Parquet files, instructions, statistics that were gathered elsewhere. */
export async function dataTargets(): Promise<Record<string, Target>> {
  return {
    task: tasks(),
    documents: documents(),
    parquet: parquetFiles(),
    instructions: instructions(),
    statistics: await statistics(),
  };
}

const taskYaml = `task: sea
dataset_path: json
dataset_kwargs: { data_files: { test: data.jsonl } }
test_split: test
output_type: multiple_choice
include: common.yaml
num_fewshot: 1
description: "Of {{topic}}.\\n"
doc_to_text: "{{q}} {{ options | join(', ') }}{% if n > 1 %} ({{n}}){% endif %}"
doc_to_choice: "{{options}}"
doc_to_target: label
filter_list: [{ name: strict, filter: [{ function: regex, regex_pattern: "(a+)", group_select: -1 }] }]
`;
const commonYaml = 'metric_list: [{ metric: acc }, { metric: acc_norm, aggregation: mean }]\nfewshot_split: train\n';
const yamlPieces = [
  ...[
    '&a',
    '*a',
    '[',
    ']',
    '{',
    '}',
    ': ',
    '\n',
    '- ',
    '!function x',
    '!!binary',
    '1e9',
    '-1',
    'null',
    '"',
    '<<: *a',
    '---\n',
  ],
  ...[
    'group: g\ntask: [task, task]\n',
    'include: task.yaml\n',
    'include: common.yaml\n',
    'output_type: generate_until\n',
  ],
  ...[
    '{{',
    '}}',
    '{% for i in range(9999999) %}',
    '{% endfor %}',
    '| tojson',
    'process_docs: hellaswag\n',
    'loop',
    '.index(9)',
  ],
];
const row = JSON.stringify({
  q: 'Calm?',
  options: ['yes', 'no'],
  label: 0,
  topic: 'sea',
  n: 2,
  ctx_a: 'a',
  ctx_b: 'b',
  endings: ['c'],
});

/** A task in two files, and rows of which one is wrong now and then. */
function tasks(): Target {
  return {
    make: (dice) => ({
      'task.yaml': encode(dice.below(4) === 0 ? taskYaml : mutateText(taskYaml, yamlPieces, dice)),
      'common.yaml': encode(dice.below(3) === 0 ? mutateText(commonYaml, yamlPieces, dice) : commonYaml),
      'data.jsonl': encode(
        `${row}\n${dice.below(2) === 0 ? mutateJson(row, dice).replaceAll('\n', ' ') : row}\n${row}`,
      ),
    }),
    async read(input) {
      const read = await readTaskFile('task.yaml', taskFiles(input));
      const data = await readDocuments([{ name: 'data.jsonl', bytes: Uint8Array.from(input['data.jsonl']!) }]);
      for (const { fields } of 'tasks' in read ? read.tasks.slice(0, 4) : [read]) {
        const { process_docs: processor } = fields;
        const documents = processor === undefined ? data : data.map(documentProcessors.get(processor));
        buildPrompts({ fields, documents, exampleDocuments: documents });
      }
    },
  };
}

function taskFiles(input: Input): TaskFiles {
  return {
    folderOf: () => '',
    resolve: (_, name) => name,
    async read(path) {
      const bytes = Object.hasOwn(input, path) ? input[path] : undefined;
      if (bytes) return decode(bytes);
      throw new KvlrError('file-missing', { message: `expected ${path}, got none` });
    },
  };
}

/** Rows alone, in every form that has no bytes of its own. */
function documents(): Target {
  return {
    make(dice) {
      const text = dice.below(2) === 0 ? `${row}\n${mutateJson(row, dice)}` : mutateJson(`[${row}, ${row}]`, dice);
      return {
        [dice.pick(['a.jsonl', 'a.json', 'a.ndjson', 'a'])]:
          dice.below(3) === 0 ? mutateBytes(encode(text), dice) : encode(text),
      };
    },
    read: (input) =>
      readDocuments(Object.entries(input).map(([name, bytes]) => ({ name, bytes: Uint8Array.from(bytes) }))),
  };
}

/** Three rows of a number and two texts, by pyarrow; wrong where the pages begin, or at the end, where the sizes stand. */
const parquetRows = Buffer.from(
  'UEFSMRUEFTAVLkwVBhUAEgAAGAQBAAkBPAIAAAAAAAAAAwAAAAAAAAAVABUUFRgsFQYVEBUGFQYcAAAACiQCAAAABgECAyQAFQQVKhUuTBUGFQASAAAVUAYAAABvbmUgw6kAAAAAAwAAAHR3bxUAFRQVGCwVBhUQFQYVBhwAAAAKJAIAAAAGAQIDJAAVBBUUFRhMFQQVABIAAAokAQAAAGEBAAAAYhUAFRIVFiwVBhUQFQYVBhwAAAAJIAIAAAADAwEDAhUEGUw1ABgGc2NoZW1hFQYAFQQlAhgCaWQAFQwlAhgEdGV4dCUATBwAAAAVDCUCGAZzb3VyY2UlAEwcAAAAFgYZHBk8JgAcFQQZNQAGEBkYAmlkFQIWBhaGARaIASZSJggpLBUEFQAVAgAVABUQFQIAPCkGGSYABgAAACYAHBUMGTUABhAZGAR0ZXh0FQIWBhaAARaIASbaASaQASksFQQVABUCABUAFRAVAgA8FhIZBhkmAAYAAAAmABwVDBk1AAYQGRgGc291cmNlFQIWBhZoFnAmzAImmAIpLBUEFQAVAgAVABUQFQIAPBYEGQYZJgIEAAAAFu4CFgYmCBaAAwAoIHBhcnF1ZXQtY3BwLWFycm93IHZlcnNpb24gMjYuMC4xGTwcAAAcAAAcAAAALgEAAFBBUjE=',
  'base64',
);

/** Each is read in a process of its own. */
function parquetFiles(): Target {
  return {
    cost: 10,
    make(dice) {
      if (dice.below(2) === 0) return { 'a.parquet': mutateBytes(parquetRows, dice) };
      const footer = dice.below(2) === 0 ? parquetRows.length - 400 : 180;
      return { 'a.parquet': joined(parquetRows.subarray(0, footer), mutateBytes(parquetRows.subarray(footer), dice)) };
    },
    read: (input) => readParquet('a.parquet', Uint8Array.from(input['a.parquet']!), undefined, { bytes: 2 ** 27 }),
  };
}

function instructions(): Target {
  const lines = [
    '{"prompt": "2 + 2 =", "response": " 4"}',
    '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}',
  ];
  return {
    make(dice) {
      const changed = mutateJson(dice.pick(lines), dice);
      return {
        'a.jsonl': dice.below(3) === 0 ? mutateBytes(encode(changed), dice) : encode(`${lines[0]}\n${changed}\n`),
      };
    },
    read: async (input) => parseInstructions(decode(input['a.jsonl']!), 'a.jsonl'),
  };
}

/** Two parts of statistics, one of them damaged: merged they are refused, or what they were. */
async function statistics(): Promise<Target> {
  const model = await openCheckpoint(createMemoryFiles(await tinyCheckpointFiles({ numLayers: 1 })));
  const gather = async (part: number) => {
    const store = new MemoryRunStore();
    const calibration = { windows: 2, windowLength: 8, seed: 0 };
    await calibrate({
      model,
      texts: tinyTexts.calibration,
      calibration,
      part: { part, parts: 2 },
      runtime: { backend: 'cpu' },
      store,
    });
    return filesOf(store);
  };
  const [first, second] = [await gather(1), await gather(2)];
  const merge = async (files: Input) => {
    const parts = [
      { name: 'first', store: await storeOf(first) },
      { name: 'second', store: await storeOf(files) },
    ];
    const output = new MemoryRunStore();
    await mergeStatisticsStores(parts, output);
    return (await readStatistics(output, 'merged')).layer(0);
  };
  const sound = JSON.stringify(await merge(second));
  return {
    make(dice) {
      const name = dice.pick(Object.keys(second));
      const bytes = second[name]!;
      if (name.endsWith('.json')) return { ...second, [name]: encode(mutateJson(decode(bytes), dice)) };
      return { ...second, [name]: dice.below(2) === 0 ? mutateHeader(bytes, dice) : mutateBytes(bytes, dice) };
    },
    async read(input) {
      if (JSON.stringify(await merge(input)) !== sound) throw new Error('other statistics than were gathered');
    },
  };
}

async function filesOf(store: MemoryRunStore): Promise<Input> {
  const files: Input = {};
  for (const name of await store.list()) files[name] = (await store.read(name))!;
  return files;
}

async function storeOf(files: Input): Promise<MemoryRunStore> {
  const store = new MemoryRunStore();
  for (const [name, bytes] of Object.entries(files)) await store.write(name, bytes);
  return store;
}
