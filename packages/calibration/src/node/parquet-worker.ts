import { buffer } from 'node:stream/consumers';
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { decodeParquet } from '../parquet/decode-parquet.ts';

/** Entry of a process that decodes one Parquet file: `readParquet` starts it with the file on stdin, and may lose it. */

/** How often the size of the process is looked at. */
const watchMilliseconds = 20;
/** Rows in a message. */
const rowsTogether = 1000;

if (isMainThread) await answer();
else watch(workerData as number);

async function answer(): Promise<void> {
  const [mostBytes, columns] = JSON.parse(process.argv[2]!) as [number, string[] | undefined];
  // Decoding hears nothing until it is done: another thread looks after it.
  new Worker(new URL(import.meta.url), { workerData: process.memoryUsage.rss() + mostBytes });
  const send = (message: object) => new Promise((sent) => process.send!(message, sent));
  try {
    const file = await buffer(process.stdin);
    const { columns: present, rows } = await decodeParquet(new Uint8Array(file), columns ?? undefined);
    for (let row = 0; row < rows.length; row += rowsTogether) await send({ rows: rows.slice(row, row + rowsTogether) });
    await send({ columns: present });
  } catch (error) {
    await send({ reason: error instanceof Error ? error.message : String(error) });
  }
  process.exit();
}

function watch(mostBytes: number): void {
  setInterval(() => process.memoryUsage.rss() > mostBytes && process.kill(process.pid, 'SIGKILL'), watchMilliseconds);
}
