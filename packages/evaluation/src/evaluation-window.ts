/** A piece of text to predict: all tokens but the first are predicted from the window's own earlier tokens. */
export interface EvaluationWindow {
  source: string;
  tokenIds: Int32Array;
}
