import { z } from 'zod';

/** A template of Jinja or the name of a column; some fields take a number or a list instead. */
const template = z.string();

const metricField = z.strictObject({
  metric: z.enum([
    'acc',
    'acc_norm',
    'acc_bytes',
    'perplexity',
    'exact_match',
    'word_perplexity',
    'byte_perplexity',
    'bits_per_byte',
  ]),
  aggregation: z.enum(['mean', 'perplexity', 'weighted_perplexity', 'bits_per_byte']).optional(),
  higher_is_better: z.boolean().optional(),
  /** Of 'exact_match': Python's regular expressions whose matches are taken out of answer and target. */
  regexes_to_ignore: z.array(z.string()).optional(),
  ignore_case: z.boolean().optional(),
  ignore_punctuation: z.boolean().optional(),
  ignore_numbers: z.boolean().optional(),
});

const filterStep = z.union([
  z.strictObject({
    function: z.literal('regex'),
    regex_pattern: z.string().default('#### (\\-?[0-9\\.\\,]+)'),
    group_select: z.int().default(0),
    fallback: z.string().default('[invalid]'),
  }),
  z.strictObject({ function: z.enum(['take_first', 'remove_whitespace', 'lowercase', 'uppercase']) }),
]);

const generationField = z.strictObject({
  until: z.union([z.string(), z.array(z.string())]).optional(),
  max_gen_toks: z.int().min(1).optional(),
  do_sample: z.literal(false).optional(),
  temperature: z.literal(0).optional(),
});

/** Splits by name to files, a file or several, relative to the folder of the task. */
const dataFiles = z.record(z.string(), z.union([z.string(), z.array(z.string()).min(1)]));

/**
 * The fields of a task of EleutherAI's lm-evaluation-harness (lm_eval/config/task.py) that kvlr runs. Others are refused by name, but for
 * those that only describe a task. `include` is resolved before.
 */
export const taskFieldsSchema = z.strictObject({
  task: z.string().min(1),
  task_alias: z.string().optional(),
  tag: z.unknown().optional(),
  /** A hub id (owner/name), or 'json' or 'parquet' with `dataset_kwargs.data_files`. */
  dataset_path: z.string().min(1),
  dataset_name: z.string().nullish(),
  dataset_kwargs: z.strictObject({ data_files: dataFiles }).optional(),
  training_split: z.string().nullish(),
  validation_split: z.string().nullish(),
  test_split: z.string().nullish(),
  fewshot_split: z.string().nullish(),
  fewshot_config: z.strictObject({ sampler: z.enum(['default', 'first_n']).default('default') }).optional(),
  /** Name of a function of `documentProcessors`: kvlr runs no Python. */
  process_docs: z.string().optional(),
  description: template.optional(),
  doc_to_text: z.union([template, z.int()]).default(''),
  doc_to_choice: z.union([template, z.array(template), z.record(z.string(), template)]).optional(),
  doc_to_target: z.union([template, z.int(), z.array(template)]),
  output_type: z
    .enum(['multiple_choice', 'loglikelihood', 'loglikelihood_rolling', 'generate_until'])
    .default('generate_until'),
  num_fewshot: z.int().min(0).nullish(),
  target_delimiter: z.string().default(' '),
  fewshot_delimiter: z.string().default('\n\n'),
  generation_kwargs: generationField.optional(),
  filter_list: z.array(z.strictObject({ name: z.string(), filter: z.array(filterStep) })).optional(),
  metric_list: z.array(metricField).min(1),
  repeats: z.literal(1).optional(),
  should_decontaminate: z.boolean().optional(),
  doc_to_decontamination_query: z.unknown().optional(),
  metadata: z.looseObject({ version: z.number().optional() }).optional(),
});

/** A task as its YAML has it, checked, defaults filled in. */
export type TaskFields = z.infer<typeof taskFieldsSchema>;
export type MetricFields = TaskFields['metric_list'][number];
export type MetricName = MetricFields['metric'];
export type FilterFields = NonNullable<TaskFields['filter_list']>[number];

/** Several tasks under one name, as in the harness (lm_eval/config/group.py): names, or fields that differ from a common file. */
export const groupFieldsSchema = z.strictObject({
  group: z.string().min(1),
  group_alias: z.string().optional(),
  task: z.array(z.union([z.string(), z.looseObject({ task: z.string() })])).min(1),
  aggregate_metric_list: z
    .array(z.strictObject({ metric: z.string(), weight_by_size: z.boolean().default(true) }))
    .optional(),
  metadata: z.looseObject({ version: z.number().optional() }).optional(),
});
export type GroupFields = z.infer<typeof groupFieldsSchema>;

/** Which metrics an output type knows. */
export const metricsOfOutput: Record<TaskFields['output_type'], readonly MetricName[]> = {
  multiple_choice: ['acc', 'acc_norm', 'acc_bytes', 'exact_match'],
  loglikelihood: ['perplexity', 'acc'],
  loglikelihood_rolling: ['word_perplexity', 'byte_perplexity', 'bits_per_byte'],
  generate_until: ['exact_match'],
};
