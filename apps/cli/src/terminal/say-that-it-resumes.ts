import { KvlrError } from '@kvlr/core';

/** Does work whose finished parts are kept; when Ctrl-C ends it, the error says how to go on. */
export async function sayThatItResumes<Value>(work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    if (!KvlrError.isInstance(error) || error.code !== 'aborted') throw error;
    throw new KvlrError('aborted', {
      message: error.message,
      hint: 'Finished stages, layers and rows are kept, and the last checkpoint of a distillation. Run the same command again: it goes on where it stopped.',
      cause: error,
    });
  }
}
