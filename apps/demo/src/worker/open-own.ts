import { type BrowserFile, describeEngines, type HuggingFaceCheckpoint, openSource } from '@kvlr/checkpoint';
import { countShapeParameters, KvlrError } from '@kvlr/core';
import { estimateCompression, planCompression } from '@kvlr/pipeline';
import type { BackendName } from '@kvlr/runtime';
import type { OwnFile, OwnLocation, OwnModel, OwnPlan } from '../messages.ts';
import { type DemoSettings, fitSettings, recipeOfSettings } from '../settings.ts';
import { describeFailure } from './describe-failure.ts';
import type { EmbeddedTexts } from './load-embedded.ts';

/** Opens a model of the visitor's: config and headers are read, no weights. */
export function openOwn(location: OwnLocation): Promise<HuggingFaceCheckpoint> {
  if ('files' in location) return openSource(location.files.map(browserFile));
  return openSource(location.address.trim());
}

/** Only the page knows the paths of files: they do not come along to a worker. */
function browserFile({ path, file }: OwnFile): BrowserFile {
  const { name, size } = file;
  return {
    name,
    size,
    webkitRelativePath: path.includes('/') ? path : '',
    slice: (start, end) => file.slice(start, end),
  };
}

/** Memory that a page can count on: what WebAssembly addresses, of models that stand there twice, and statistics beside them. */
const pageMemoryBytes = 4 * 2 ** 30;

interface DescribeRequest {
  checkpoint: HuggingFaceCheckpoint;
  name: string;
  texts: EmbeddedTexts;
  settings: DemoSettings;
  backend: BackendName;
}

/** What a model is and what compressing it here would take, from shapes alone. */
export async function describeOwn(request: DescribeRequest): Promise<OwnModel> {
  const { checkpoint, name } = request;
  const { shape } = checkpoint;
  const plans: OwnPlan[] = [];
  for (const keep of [1 / 2, 1 / 4, 1 / 8]) plans.push(await planOwn(request, keep));
  return {
    name,
    architecture: checkpoint.architecture.name,
    numLayers: shape.numLayers,
    keyValueHeads: shape.numKeyValueHeads,
    headDim: shape.headDim,
    maxPositionEmbeddings: shape.maxPositionEmbeddings,
    parameters: countShapeParameters(shape),
    plans,
  };
}

async function planOwn({ checkpoint, texts, settings, backend }: DescribeRequest, keep: number): Promise<OwnPlan> {
  try {
    const recipe = recipeOfSettings(fitSettings({ ...settings, keep }, checkpoint.shape));
    const plan = await planCompression({ model: checkpoint, texts, recipe });
    const { memoryBytes, seconds, keyValueHeads, headWidth } = estimateCompression(plan, { backend });
    const planned = {
      keep,
      keyValueHeads,
      headWidth,
      memoryBytes,
      seconds,
      loadsInto: describeEngines(plan.outcome.loadsInto),
    };
    return memoryBytes > pageMemoryBytes ? { ...planned, refusal: tooLarge(memoryBytes) } : planned;
  } catch (error) {
    if (!KvlrError.isInstance(error)) throw error;
    return { keep, refusal: describeFailure(error) };
  }
}

function tooLarge(memoryBytes: number): NonNullable<OwnPlan['refusal']> {
  return {
    code: 'memory-exceeded',
    message: `expected a need of at most ${pageMemoryBytes / 2 ** 30} GiB, got ${(memoryBytes / 2 ** 30).toFixed(1)} GiB`,
    hint: 'A page has too little memory for it. On this machine: npx kvlr compress PATH --keep 1/2 --head-width auto.',
  };
}
