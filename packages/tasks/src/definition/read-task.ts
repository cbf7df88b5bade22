import { KvlrError } from '@kvlr/core';
import { parseDocument } from 'yaml';
import type { z } from 'zod';
import {
  type GroupFields,
  groupFieldsSchema,
  metricsOfOutput,
  type TaskFields,
  taskFieldsSchema,
} from './task-fields.ts';

/** One task, ready to run: its fields, and where its files are looked for. */
export interface TaskDefinition {
  fields: TaskFields;
  /** What its file paths are relative to, for whoever reads files. */
  folder: string;
}

/** Several tasks whose scores are also given together. */
export interface TaskGroup {
  fields: GroupFields;
  tasks: TaskDefinition[];
}

/** Reads text files for `include` and for the tasks of a group. */
export interface TaskFiles {
  /** Folder of a file. */
  folderOf(path: string): string;
  /** Path of a file that another names. */
  resolve(folder: string, name: string): string;
  read(path: string): Promise<string>;
}

/**
 * Reads a YAML file that describes a task or a group of tasks, `include` resolved: the including file's fields stand before those it
 * includes.
 *
 * @throws KvlrError 'file-malformed' for what is no YAML, for fields that kvlr does not run (Python functions among them) and for
 * metrics that the output type does not have; what `files.read` throws.
 */
export function readTaskFile(path: string, files: TaskFiles): Promise<TaskDefinition | TaskGroup> {
  return readMember(path, files, { depth: 0, tasks: 0 });
}

/** Files inside one another, and tasks of a group with all groups inside it, at most: a file may name itself. */
const limits = { depth: 8, tasks: 10_000 };

/** How far reading has come. */
interface Extent {
  depth: number;
  tasks: number;
}

async function readMember(path: string, files: TaskFiles, extent: Extent): Promise<TaskDefinition | TaskGroup> {
  if (extent.depth > limits.depth) throw tooDeep(path);
  const raw = await readWithIncludes(path, files);
  const folder = files.folderOf(path);
  if (!('group' in raw) || !Array.isArray(raw.task)) return { fields: checkTask(raw, path), folder };
  const fields = check(groupFieldsSchema, raw, path);
  const tasks: TaskDefinition[] = [];
  for (const entry of fields.task) {
    extent.tasks += 1;
    if (extent.tasks > limits.tasks) throw malformed(path, `at most ${limits.tasks} tasks in a group`, 'more');
    if (typeof entry === 'string') {
      extent.depth += 1;
      const member = await readMember(files.resolve(folder, `${entry}.yaml`), files, extent);
      extent.depth -= 1;
      tasks.push(...('tasks' in member ? member.tasks : [member]));
    } else {
      tasks.push({ fields: checkTask(await withIncludes(entry, path, files), path), folder });
    }
  }
  return { fields, tasks };
}

type RawFields = Record<string, unknown>;

async function readWithIncludes(path: string, files: TaskFiles, depth = 0): Promise<RawFields> {
  if (depth > limits.depth) throw tooDeep(path);
  return withIncludes(parseYaml(await files.read(path), path), path, files, depth);
}

async function withIncludes(raw: RawFields, path: string, files: TaskFiles, depth = 0): Promise<RawFields> {
  const { include, ...own } = raw;
  if (include === undefined) return own;
  if (typeof include !== 'string') throw malformed(path, 'the name of a file as include', JSON.stringify(include));
  const included = await readWithIncludes(files.resolve(files.folderOf(path), include), files, depth + 1);
  return { ...included, ...own };
}

function tooDeep(path: string): KvlrError {
  return malformed(path, 'files that include each other in no circle', `more than ${limits.depth} one in another`);
}

/** Python's functions are written `!function module.name` in the harness. */
const pythonFunction = {
  tag: '!function',
  resolve: (name: string) => {
    throw new Error(`the Python function ${name}`);
  },
};

function parseYaml(text: string, path: string): RawFields {
  let value: unknown;
  try {
    const document = parseDocument(text, { customTags: [pythonFunction] });
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) throw problem;
    value = document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw malformed(path, 'YAML without Python', reason.split('\n')[0]!);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as RawFields;
  throw malformed(path, 'the fields of a task', value === null ? 'nothing' : typeof value);
}

function checkTask(raw: RawFields, path: string): TaskFields {
  const fields = check(taskFieldsSchema, raw, path);
  const known = metricsOfOutput[fields.output_type];
  const foreign = fields.metric_list.find(({ metric }) => !known.includes(metric));
  if (foreign !== undefined) {
    throw malformed(path, `metrics of ${fields.output_type}: ${known.join(', ')}`, foreign.metric);
  }
  if (fields.output_type === 'multiple_choice' && fields.doc_to_choice === undefined) {
    throw malformed(path, 'doc_to_choice with output_type multiple_choice', 'none');
  }
  return fields;
}

function check<Fields>(schema: z.ZodType<Fields>, raw: RawFields, path: string): Fields {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'the whole'}: ${issue.message}`);
  throw malformed(path, 'fields of a task that kvlr runs', problems.join('; '));
}

function malformed(file: string, expected: string, received: string): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected ${expected}, got ${received}`,
    hint: 'Tasks are YAML with the fields of lm-evaluation-harness; what Python does there is written in Jinja here.',
    where: { file },
    data: { file },
  });
}
