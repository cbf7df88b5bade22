import { type Code, i32, unsigned } from './instructions.ts';

/** A function without a result, whose parameters are all i32. */
export interface WasmFunction {
  name: string;
  parameters: number;
  /** Types of the locals behind the parameters. */
  locals: number[];
  body: Code;
}

/** A module of exported functions on the imported memory `env.memory`. */
export function assembleModule(functions: WasmFunction[], sharedMemory: boolean): Uint8Array {
  const counts = [...new Set(functions.map(({ parameters }) => parameters))];
  // Shared memory has to be imported as such, with an upper limit.
  const limits = sharedMemory ? [3, 0, ...unsigned(65536)] : [0, 0];
  const bodies = functions.map(({ locals, body }) => {
    const code = [...unsigned(locals.length), ...locals.flatMap((type) => [1, type]), ...body, 0x0b];
    return [...unsigned(code.length), ...code];
  });
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(
      1,
      counts.map((count) => [0x60, ...unsigned(count), ...Array<number>(count).fill(i32), 0]),
    ),
    ...section(2, [[...text('env'), ...text('memory'), 2, ...limits]]),
    ...section(
      3,
      functions.map(({ parameters }) => unsigned(counts.indexOf(parameters))),
    ),
    ...section(
      7,
      functions.map(({ name }, index) => [...text(name), 0, ...unsigned(index)]),
    ),
    ...section(10, bodies),
  ]);
}

function section(id: number, entries: Code[]): Code {
  const content = [...unsigned(entries.length), ...entries.flat()];
  return [id, ...unsigned(content.length), ...content];
}

function text(name: string): Code {
  return [...unsigned(name.length), ...Array.from(name, (letter) => letter.charCodeAt(0))];
}
