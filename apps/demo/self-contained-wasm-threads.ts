import type { Plugin } from 'vite';

const threadedModule = /tfjs-backend-wasm-threaded-simd\.js$/;

/**
 * The wasm backend of tfjs starts its threads from the source text of one function. That function asks for `_scriptDir`, a
 * variable around it, behind a `typeof` guard that minifiers take out because they see the variable; in a thread it is
 * then missing. tfjs always passes the script, so the variable is not needed.
 */
export function selfContainedWasmThreads(): Plugin {
  return {
    name: 'self-contained-wasm-threads',
    apply: 'build',
    transform: {
      filter: { id: threadedModule },
      handler(code) {
        const guarded = 'typeof _scriptDir !== "undefined" && _scriptDir';
        const fallback = '||_scriptDir,';
        if (!code.includes(guarded) || !code.includes(fallback)) {
          this.error('expected the uses of _scriptDir of @tensorflow/tfjs-backend-wasm 4.22.0, found others');
        }
        return { code: code.replace(guarded, 'false').replace(fallback, ','), map: null };
      },
    },
  };
}
