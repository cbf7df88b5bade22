export { type AnswerFile, openAnswerFile } from './node/answer-file.ts';
export { downloadDatasetSplit } from './node/hub-datasets.ts';
export { type LoadDocumentsSettings, loadDocuments, type TaskDocuments } from './node/load-documents.ts';
export { listTasks, type OpenedTasks, openTasks } from './node/open-tasks.ts';
