/**
 * Parts of the way from the values before training to those behind its last step that are looked at as well: steps that overshoot the
 * held-out text, as they do where there is little to gain, still have a direction that is right (as means of weights before and after
 * fine-tuning, Wortsman et al. 2022, arXiv 2109.01903). From the longest on.
 */
export const partsOfTheWay = [0.6, 0.3] as const;
