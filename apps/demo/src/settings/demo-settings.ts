/** How much of the KV cache the compressed model keeps. */
export type KeptShare = 'half' | 'quarter';

/** How the closed forms are mended afterwards: not at all, briefly, or as `kvlr compress --recover light` does. */
export type Repair = 'none' | 'short' | 'light';

/** What a visitor may choose, on the page or in its address. */
export interface DemoSettings {
  keep: KeptShare;
  repair: Repair;
  backend: 'auto' | 'webgpu' | 'wasm';
  /** Tokens that each model writes. */
  newTokens: number;
  /** Windows of calibration text that the statistics are gathered on. */
  calibrationWindows: number;
  /** Tokens of a window, in calibration, repair and judgement. */
  windowLength: number;
  /** Windows of each source of held-out text that both models are judged on. */
  judgedWindows: number;
}

export const defaultSettings: Readonly<DemoSettings> = {
  keep: 'half',
  repair: 'short',
  backend: 'auto',
  newTokens: 120,
  calibrationWindows: 16,
  windowLength: 256,
  judgedWindows: 2,
};
