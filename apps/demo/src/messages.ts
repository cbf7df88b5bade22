import type { KvlrEvent } from '@kvlr/core';
import type { BackendChoice } from '@kvlr/runtime';
import type { PairSet } from './pair.ts';
import type { DemoSettings } from './settings.ts';

/** The two models that run side by side. */
export type Side = 'original' | 'compressed';

export const sides: readonly Side[] = ['original', 'compressed'];

/** Which compressed model is meant, and how its cache keeps numbers. */
export interface PairChoice {
  /** One that ships with the page, or what the visitor compressed. */
  set: 'shipped' | 'own';
  /** Name of a record of the set. */
  pair: string;
  codec: string;
}

/** A file that was chosen or dropped, and its path from the folder that was. */
export interface OwnFile {
  path: string;
  file: File;
}

export type OwnLocation = { files: OwnFile[] } | { address: string };

/** Where a result goes: a folder or a file that the visitor chose, or memory, from which the page hands it out. */
export type SaveTarget =
  | { kind: 'folder'; handle: FileSystemDirectoryHandle }
  | { kind: 'file'; handle: FileSystemFileHandle }
  | { kind: 'memory' };

export type SavedForm = 'zip' | 'folder' | 'gguf';

/** What the page asks of the worker. The newest request counts: what is under way is stopped. */
export type PageMessage =
  | { type: 'write'; choice: PairChoice; prompt: string; newTokens: number; backend: DemoSettings['backend'] }
  | { type: 'compress'; settings: DemoSettings }
  | { type: 'open'; location: OwnLocation; settings: DemoSettings }
  | { type: 'close-own' }
  | { type: 'save'; form: SavedForm; target: SaveTarget }
  | { type: 'stop' };

/** What the worker tells the page. */
export type WorkerMessage =
  | { type: 'pairs'; set: PairSet; kept: KeptResult | undefined }
  | { type: 'event'; event: KvlrEvent }
  | { type: 'backend'; backend: BackendChoice }
  | { type: 'started'; promptTokens: number; longestContext: number }
  | { type: 'token'; progress: WritingProgress }
  | { type: 'written' }
  | { type: 'speed'; side: Side; tokensPerSecond: number }
  | { type: 'opened'; own: OwnModel | undefined; kept: KeptResult | undefined }
  | { type: 'compressed'; result: KeptResult }
  | { type: 'kept'; kept: boolean }
  | { type: 'saved'; fileName: string; blob: Blob | undefined }
  | { type: 'stopped'; work: string }
  | { type: 'done'; work: string }
  | { type: 'failed'; work: string; failure: Failure };

/** What the visitor compressed, as a set beside its original. */
export interface KeptResult {
  set: PairSet;
  seconds: number;
  /** How it was made, in words. */
  title: string;
  /** Why GGUF cannot be written; undefined where it can. */
  ggufReason: string | undefined;
}

/** A model of the visitor's, opened but not loaded, and what working on it would take. */
export interface OwnModel {
  name: string;
  architecture: string;
  numLayers: number;
  keyValueHeads: number;
  headDim: number;
  maxPositionEmbeddings: number;
  parameters: number;
  /** By what is kept of the heads. */
  plans: OwnPlan[];
}

export interface OwnPlan {
  keep: number;
  /** What cannot be done, and why; the figures are then absent. */
  refusal?: Failure;
  keyValueHeads?: number;
  headWidth?: number;
  memoryBytes?: number;
  seconds?: number;
  /** What loads the result, in words. */
  loadsInto?: string;
}

/** How far one model has come with its text. */
export interface WritingProgress {
  side: Side;
  /** All new text so far, and how many of its first characters both models have in common. */
  text: string;
  sharedCharacters: number;
  newTokens: number;
  sharedTokens: number;
  /** Tokens held in the cache, the prompt included, and the bytes they take. */
  cachedTokens: number;
  cacheBytes: number;
}

export interface Failure {
  code: string;
  message: string;
  hint: string | undefined;
}
