/**
 * What training lowers, a mean over the tokens whose predictions count:
 * (1 - nextTokenShare) temperature^2 KL(q || p) + nextTokenShare * cross-entropy of the next token + hiddenWeight * distance of the
 * streams; q and p are the original's and the student's softmax(logits / temperature) (Hinton et al. 2015, arXiv 1503.02531).
 */
export interface Objective {
  /** Share of the text's own next token in the target, the rest being the original's distribution; 0 to 1. */
  nextTokenShare: number;
  /** Above 0: above 1 likely tokens count for less. */
  temperature: number;
  /**
   * Weight, from 0, of the squared distance between the streams after each layer and the original's, as a share of their energy, a
   * mean over layers (as FitNets, Romero et al. 2015, arXiv 1412.6550).
   */
  hiddenWeight: number;
}

/** Whether the original is asked at all. */
export function needsTeacher({ nextTokenShare, hiddenWeight }: Objective): boolean {
  return nextTokenShare < 1 || hiddenWeight > 0;
}
