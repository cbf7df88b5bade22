import type { Recipe } from '@kvlr/core/schemas';
import { resolveRecovery } from './resolve-recovery.ts';

/** What follows the closed form, in a word for names and in words for titles; undefined where nothing does. */
export function describeRecovery(recovery: Recipe['recovery']): { name: string; title: string } | undefined {
  const byLayer = describeReconstruction(recovery);
  if (recovery.distillation === undefined) return byLayer;
  if (byLayer === undefined) return { name: 'distilled', title: 'distillation' };
  return { name: `${byLayer.name}+distilled`, title: `${byLayer.title}, distillation` };
}

function describeReconstruction(recovery: Recipe['recovery']): { name: string; title: string } | undefined {
  const resolved = resolveRecovery(recovery);
  if (resolved === undefined) return undefined;
  const { preset, settings } = resolved;
  if (settings.steps > 0) return { name: preset, title: `${preset} block reconstruction` };
  return settings.refitOutput ? { name: 'refit', title: 'output refit' } : undefined;
}
