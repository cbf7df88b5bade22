import { KvlrError } from '@kvlr/core';
import type { Matrix } from '@kvlr/linalg';
import type { GroupFactors, SourceLayer, ValueMethod } from '../ports.ts';

/** The same function; what it throws becomes a KvlrError 'plugin-invalid' that names the module. */
export function guarded<Arguments extends [SourceLayer, ...unknown[]], Result>(
  work: (...given: Arguments) => Result,
  part: string,
  label: string,
): (...given: Arguments) => Result {
  return (...given) => {
    try {
      return work(...given);
    } catch (cause) {
      if (KvlrError.isInstance(cause)) throw cause;
      throw new KvlrError('plugin-invalid', {
        message: `${label}: ${part} failed in layer ${given[0].layer}: ${cause instanceof Error ? cause.message : cause}`,
        hint: 'Mend the module.',
        data: { module: label, part, layer: given[0].layer },
        cause,
      });
    }
  };
}

/**
 * The same method, guarded, whose factors have been checked: encoder [width, t*D], t decoders [D, width]; width is D where
 * no other is given, as for keys.
 */
export function checkedFactors(
  method: ValueMethod,
  part: string,
  label: string,
): (layer: SourceLayer, heads: readonly number[], width?: number) => GroupFactors {
  const guardedMethod = guarded(method, part, label);
  return (layer, heads, width = layer.shape.headDim) => {
    const { headDim } = layer.shape;
    const factors: Partial<GroupFactors> | undefined = guardedMethod(layer, heads, width);
    const requireMatrix = (name: string, matrix: Partial<Matrix> | undefined, rows: number, cols: number) => {
      const fits = matrix?.rows === rows && matrix.cols === cols && matrix.data?.length === rows * cols;
      if (fits && matrix.data instanceof Float64Array) return;
      throw new KvlrError('plugin-invalid', {
        message: `${label}: expected ${part} to give ${name} as { rows: ${rows}, cols: ${cols}, data: Float64Array(${rows * cols}) }, got ${describe(matrix)}`,
        hint: 'Matrices are row-major; heads lie side by side, headDim numbers each.',
        data: { module: label, part, layer: layer.layer, heads },
      });
    };
    requireMatrix('encoder', factors?.encoder, width, heads.length * headDim);
    heads.forEach((_, place) => {
      requireMatrix(`decoders[${place}]`, factors?.decoders?.[place], headDim, width);
    });
    return factors as GroupFactors;
  };
}

function describe(matrix: Partial<Matrix> | undefined): string {
  if (matrix === undefined || matrix === null) return 'none';
  const { rows, cols, data } = matrix;
  return `{ rows: ${rows}, cols: ${cols}, data: ${data?.constructor?.name}(${data?.length}) }`;
}
