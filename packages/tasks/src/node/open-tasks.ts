import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KvlrError } from '@kvlr/core';
import { referenceTaskDirectory } from '@kvlr/reference-model/node';
import { readTaskFile, type TaskDefinition, type TaskFiles, type TaskGroup } from '../definition/read-task.ts';
import { taskFolder } from '../task-folder.ts';

/** Tasks that were asked for, in order and each once, and the groups among them. */
export interface OpenedTasks {
  tasks: TaskDefinition[];
  groups: TaskGroup[];
}

const folders = [fileURLToPath(taskFolder), referenceTaskDirectory];

/** Names of the tasks and groups that come with kvlr. */
export async function listTasks(): Promise<string[]> {
  const files = await Promise.all(folders.map((folder) => readdir(folder)));
  return files
    .flat()
    .filter((name) => name.endsWith('.yaml') && !name.startsWith('_'))
    .map((name) => basename(name, '.yaml'))
    .sort();
}

const taskFiles: TaskFiles = {
  folderOf: dirname,
  resolve: (folder, name) => (isAbsolute(name) ? name : resolve(folder, name)),
  read: readTask,
};

/**
 * Opens tasks by name (`listTasks`), or by the path of a YAML file in the form of lm-evaluation-harness.
 * Throws 'usage' for a name that there is not, 'file-missing', and what `readTaskFile` throws.
 */
export async function openTasks(namesOrPaths: readonly string[]): Promise<OpenedTasks> {
  const opened: OpenedTasks = { tasks: [], groups: [] };
  for (const nameOrPath of namesOrPaths) {
    const found = await readTaskFile(await locate(nameOrPath), taskFiles);
    if ('tasks' in found) opened.groups.push(found);
    const members = 'tasks' in found ? found.tasks : [found];
    opened.tasks.push(
      ...members.filter(({ fields }) => opened.tasks.every((task) => task.fields.task !== fields.task)),
    );
  }
  return opened;
}

async function locate(nameOrPath: string): Promise<string> {
  if (/\.ya?ml$/i.test(nameOrPath)) return resolve(nameOrPath);
  for (const folder of folders) {
    if ((await readdir(folder)).includes(`${nameOrPath}.yaml`)) return join(folder, `${nameOrPath}.yaml`);
  }
  const names = await listTasks();
  throw new KvlrError('usage', {
    message: `expected a task: one of ${names.join(', ')}, got ${JSON.stringify(nameOrPath)}`,
    hint: 'Name one of these, or the path of a YAML file with the fields of lm-evaluation-harness.',
    where: { argument: 'tasks' },
    data: { name: nameOrPath, names },
  });
}

async function readTask(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new KvlrError('file-missing', {
      message: `expected a file that describes a task, got: ${cause instanceof Error ? cause.message : cause}`,
      hint: 'Name a YAML file that exists, or a task that comes with kvlr.',
      where: { file: path },
      cause,
    });
  }
}
