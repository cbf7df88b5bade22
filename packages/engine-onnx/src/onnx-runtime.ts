import { KvlrError } from '@kvlr/core';

export type OnnxRuntimeModule = typeof import('onnxruntime-node');

/** ONNX Runtime's module for Node, or why it cannot be had. */
export type OnnxRuntime = { module: OnnxRuntimeModule; version: string } | { missing: string };

let found: Promise<OnnxRuntime> | undefined;

/** Looks for onnxruntime-node, once. It is a package that users install beside this one. */
export function findOnnxRuntime(): Promise<OnnxRuntime> {
  found ??= importRuntime();
  return found;
}

async function importRuntime(): Promise<OnnxRuntime> {
  try {
    const imported = await import('onnxruntime-node');
    // CommonJS: what it exports may stand under its default.
    const module = 'InferenceSession' in imported ? imported : (imported as { default: OnnxRuntimeModule }).default;
    return { module, version: module.env.versions.node ?? module.env.versions.common };
  } catch (error) {
    const [reason = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
    return { missing: reason.includes('Cannot find package') ? 'onnxruntime-node is not installed' : reason };
  }
}

/** The module. Throws 'backend-unavailable' where it cannot be loaded. */
export async function requireOnnxRuntime(): Promise<OnnxRuntimeModule> {
  const runtime = await findOnnxRuntime();
  if ('module' in runtime) return runtime.module;
  throw new KvlrError('backend-unavailable', {
    message: `expected onnxruntime-node to load, got: ${runtime.missing}`,
    hint: 'Install it beside kvlr (npm install onnxruntime-node), or run on another engine.',
    data: { engine: 'onnx', reason: runtime.missing },
  });
}
