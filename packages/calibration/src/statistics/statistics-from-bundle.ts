import {
  type CalibrationStatistics,
  countElements,
  KvlrError,
  type LayerStatistics,
  type StatisticsProvenance,
  type TensorBundle,
} from '@kvlr/core';
import { momentFields } from './moment-fields.ts';
import { statisticsFormat, statisticsTensorName } from './statistics-to-bundle.ts';

/** Reads back what `statisticsToBundle` wrote. Throws 'file-malformed', naming what is missing or wrong. */
export function statisticsFromBundle(bundle: TensorBundle): CalibrationStatistics {
  const { metadata } = bundle;
  if (metadata.format !== statisticsFormat.format || metadata.version !== statisticsFormat.version) {
    throw malformed(
      `format ${statisticsFormat.format}, version ${statisticsFormat.version}`,
      `format ${metadata.format}, version ${metadata.version}`,
    );
  }
  const provenance = parseEntry<StatisticsProvenance>(metadata, 'provenance');
  const heads = parseEntry<Pick<LayerStatistics, 'layer' | 'tokenCount'>[]>(metadata, 'layers');
  const layers = heads.map(({ layer, tokenCount }) => {
    const arrays = momentFields.map((field) => [field, readArray(bundle, statisticsTensorName(layer, field))] as const);
    return { layer, tokenCount, ...Object.fromEntries(arrays) } as LayerStatistics;
  });
  return { provenance, layers };
}

function readArray(bundle: TensorBundle, name: string): Float64Array {
  const tensor = bundle.tensors.get(name);
  if (!tensor) throw malformed(`a tensor ${name}`, 'none');
  const length = countElements(tensor.shape);
  if (!(tensor.data instanceof Float64Array) || tensor.data.length !== length) {
    throw malformed(`${length} F64 numbers in ${name}`, `${tensor.data.length} in ${tensor.data.constructor.name}`);
  }
  const bad = tensor.data.find((value) => !Number.isFinite(value));
  if (bad !== undefined) throw malformed(`finite numbers in ${name}`, String(bad));
  return tensor.data;
}

function parseEntry<Value>(metadata: Record<string, string>, name: string): Value {
  try {
    return JSON.parse(metadata[name] ?? '');
  } catch {
    throw malformed(`JSON in the metadata entry '${name}'`, String(metadata[name]));
  }
}

function malformed(expected: string, received: string): KvlrError {
  return new KvlrError('file-malformed', {
    message: `statisticsFromBundle: expected ${expected}, got ${received}`,
    hint: 'Collect the statistics again: this file was not written by this version of kvlr, or was damaged.',
    data: { expected, received },
  });
}
