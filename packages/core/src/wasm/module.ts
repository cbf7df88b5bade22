import { type Code, type Local, unsigned, type ValueType } from './instructions.ts';

/** A function that a module exports under its name. */
export interface WasmFunction {
  name: string;
  parameters: readonly ValueType[];
  results: readonly ValueType[];
  /** Types of the local variables, which are numbered behind the parameters. */
  locals: readonly ValueType[];
  body: Code;
}

/** A function without results: `body` is given its parameters, and declares local variables as it needs them, zero at first. */
export function wasmFunction<const Parameters extends readonly ValueType[]>(
  name: string,
  parameters: Parameters,
  body: (parameters: { [Index in keyof Parameters]: Local }, declare: (type: ValueType) => Local) => Code,
): WasmFunction {
  const locals: ValueType[] = [];
  const declare = (type: ValueType): Local => parameters.length + locals.push(type) - 1;
  const numbers = parameters.map((_, index) => index) as { [Index in keyof Parameters]: Local };
  return { name, parameters, results: [], body: body(numbers, declare), locals };
}

export interface WasmModule {
  functions: readonly WasmFunction[];
  /**
   * 'exported': memory of its own, one page at first, exported as `memory`. 'imported': env.memory. 'shared': env.memory that
   * threads share, which has to be imported as such. Default: none.
   */
  memory?: 'exported' | 'imported' | 'shared';
}

const mostPages = 65536;

/** The binary form of a module (WebAssembly core specification 2.0, chapter 5). */
export function assembleModule({ functions, memory }: WasmModule): Uint8Array {
  const limits = memory === 'shared' ? [3, 0, ...unsigned(mostPages)] : [0, 0];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(
      1,
      functions.map(({ parameters, results }) => [0x60, ...typeList(parameters), ...typeList(results)]),
    ),
    ...section(
      2,
      memory === 'imported' || memory === 'shared' ? [[...text('env'), ...text('memory'), 2, ...limits]] : [],
    ),
    ...section(
      3,
      functions.map((_, index) => unsigned(index)),
    ),
    ...section(5, memory === 'exported' ? [[0, 1]] : []),
    ...section(7, [
      ...(memory === 'exported' ? [[...text('memory'), 2, 0]] : []),
      ...functions.map(({ name }, index) => [...text(name), 0, ...unsigned(index)]),
    ]),
    ...section(10, functions.map(functionBody)),
  ]);
}

interface WebAssemblyApi {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { exports: object };
}

/**
 * The exports of a module, instantiated at once; undefined where WebAssembly or its vectors are missing, or where the page
 * forbids making modules. An error in the module itself looks the same: tests show that it is valid.
 */
export function instantiateModule<Exports>(bytes: Uint8Array, imports: object = {}): Exports | undefined {
  const { WebAssembly } = globalThis as { WebAssembly?: WebAssemblyApi };
  if (WebAssembly === undefined) return undefined;
  try {
    return new WebAssembly.Instance(new WebAssembly.Module(bytes), imports).exports as Exports;
  } catch {
    return undefined;
  }
}

function functionBody({ locals, body }: WasmFunction): Code {
  const code = [...unsigned(locals.length), ...locals.flatMap(({ type }) => [1, type]), ...body, 0x0b];
  return [...unsigned(code.length), ...code];
}

function typeList(types: readonly ValueType[]): Code {
  return [...unsigned(types.length), ...types.map(({ type }) => type)];
}

function section(id: number, entries: readonly Code[]): Code {
  if (entries.length === 0) return [];
  const content = [...unsigned(entries.length), ...entries.flat()];
  return [id, ...unsigned(content.length), ...content];
}

function text(name: string): Code {
  return [...unsigned(name.length), ...Array.from(name, (letter) => letter.charCodeAt(0))];
}
