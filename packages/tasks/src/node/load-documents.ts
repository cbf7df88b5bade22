import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { HubAccess } from '@kvlr/checkpoint';
import { KvlrError, type RunControl } from '@kvlr/core';
import type { TaskDefinition } from '../definition/read-task.ts';
import { type DataFile, documentProcessors, readDocuments } from '../prompts/documents.ts';
import type { TaskDocument } from '../prompts/templates.ts';
import { downloadDatasetSplit } from './hub-datasets.ts';

export interface LoadDocumentsSettings extends HubAccess, RunControl {
  /** Where data of the hub is kept. Default: beside the models that all Hugging Face tools share. */
  cacheDirectory?: string;
}

/** The documents of a task, and those that its examples are taken from. */
export interface TaskDocuments {
  documents: TaskDocument[];
  exampleDocuments: TaskDocument[];
}

/**
 * Loads the data of a task: files that `dataset_kwargs.data_files` names, relative to the task's own file, else the dataset of that id from
 * the hub. Evaluated is the test split, where there is none the validation split; examples come from `fewshot_split`, else from
 * the training, the validation or the test split, whichever comes first. With `withExamples` false only what is evaluated is loaded.
 *
 * Throws 'file-malformed' for a task without a split, 'file-missing', 'network', 'access-denied', and what `readDocuments` throws.
 */
export async function loadDocuments(
  definition: TaskDefinition,
  withExamples: boolean,
  settings: LoadDocumentsSettings = {},
): Promise<TaskDocuments> {
  const { fields } = definition;
  const evaluated = fields.test_split ?? fields.validation_split;
  if (!evaluated) {
    throw new KvlrError('file-malformed', {
      message: `expected test_split or validation_split in task ${fields.task}, got neither`,
      hint: 'Name the split whose documents are to be asked about.',
      where: { argument: 'test_split' },
    });
  }
  const examples = fields.fewshot_split ?? fields.training_split ?? fields.validation_split ?? evaluated;
  const documents = await loadSplit(definition, evaluated, settings);
  if (!withExamples) return { documents, exampleDocuments: [] };
  return {
    documents,
    exampleDocuments: examples === evaluated ? documents : await loadSplit(definition, examples, settings),
  };
}

async function loadSplit(
  { fields, folder }: TaskDefinition,
  split: string,
  settings: LoadDocumentsSettings,
): Promise<TaskDocument[]> {
  const named = fields.dataset_kwargs?.data_files;
  const files =
    named === undefined
      ? await downloadDatasetSplit({ id: fields.dataset_path, name: fields.dataset_name ?? 'default', split }, settings)
      : filesOfSplit(named, split, fields.task).map((path) => resolve(folder, path));
  const documents = await readDocuments(await Promise.all(files.map(readDataFile)));
  const { process_docs: processor } = fields;
  return processor === undefined ? documents : documents.map(documentProcessors.get(processor));
}

function filesOfSplit(named: Record<string, string | string[]>, split: string, task: string): string[] {
  const files = named[split];
  if (files !== undefined) return typeof files === 'string' ? [files] : files;
  throw new KvlrError('file-malformed', {
    message: `expected data_files of the split ${split} in task ${task}, got ${Object.keys(named).join(', ')}`,
    hint: 'Name the files of every split that the task uses.',
    where: { argument: 'dataset_kwargs.data_files' },
  });
}

async function readDataFile(path: string): Promise<DataFile> {
  try {
    return { name: path, bytes: new Uint8Array(await readFile(path)) };
  } catch (cause) {
    throw new KvlrError('file-missing', {
      message: `expected a data file of the task, got: ${cause instanceof Error ? cause.message : cause}`,
      hint: 'data_files are relative to the folder of the task’s YAML file.',
      where: { file: path },
      cause,
    });
  }
}
