import type { TaskDisagreement, TaskReport } from '../documents/task-report.ts';
import { type Child, element } from '../markup.ts';
import { taskPlot } from '../plots/task-plot.ts';
import { left, type ReportTable } from '../tables/report-table.ts';
import { taskTable } from '../tables/task-tables.ts';
import { htmlNotes, htmlPage, htmlPanels, htmlSection, htmlTable } from './page.ts';

/** Tasks of models side by side as a self-contained HTML page: scores, quality against bytes, and answers where they part. */
export function taskHtml(report: TaskReport): string {
  const { conditions, rows } = report;
  const names = conditions.map(({ name }) => name);
  return htmlPage({
    title: report.title,
    description: `Tasks of lm-evaluation-harness, asked of ${names.join(', ')}.`,
    lead: [htmlNotes(report.notes)],
    body: [
      htmlSection('Scores', htmlTable(taskTable(report))),
      conditions.length > 1
        ? htmlSection(
            'Quality against the bytes of the cache',
            htmlPanels(
              'task',
              rows.map((row) => taskPlot(report, row)),
              names,
              'Markers have one standard error to either side; the line is the first model’s value. The table above has paired differences.',
            ),
          )
        : undefined,
      disagreementSection(report),
    ],
  });
}

function disagreementSection({ conditions, disagreements }: TaskReport): Child {
  if (disagreements.length === 0) return undefined;
  return htmlSection(
    'Where answers part',
    element('p', {}, 'The first documents on which not all say the same, with the end of the text before the answers.'),
    disagreements.map((one) => htmlTable(disagreementTable(one, conditions))),
  );
}

function disagreementTable(disagreement: TaskDisagreement, conditions: TaskReport['conditions']): ReportTable {
  const { task, document, context, expected, answers } = disagreement;
  return {
    caption: `${task}, document ${document}: … ${context}`,
    columns: [left('Who'), left('Answer')],
    rows: [['expected', expected], ...conditions.map(({ name }, place) => [name, answers[place]!])],
  };
}
