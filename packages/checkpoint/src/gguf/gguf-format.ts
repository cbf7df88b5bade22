import type { WeightDtype } from '../dtypes/encode-floats.ts';

/** The metadata values that kvlr writes, a part of what GGUF knows. */
export type GgufValue =
  | { type: 'string'; value: string }
  | { type: 'uint32'; value: number }
  | { type: 'float32'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'array'; of: 'string'; value: readonly string[] }
  | { type: 'array'; of: 'int32'; value: readonly number[] };

/** Numbers of the value types in the file. */
export const ggufValueCodes = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const;

/** Numbers of the element types in the tensor table. */
export const ggufDtypeCodes: Record<WeightDtype, number> = { F32: 0, F16: 1, BF16: 30 };

/** general.file_type: what most of the weights are. */
export const ggufFileTypes: Record<WeightDtype, number> = { F32: 0, F16: 1, BF16: 32 };
