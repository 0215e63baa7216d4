// cdk-nag's AwsSolutions rules over a template. The template may accept a finding, with a reason, by Metadata/cdk_nag/rules_to_suppress of the
// resource or of the whole; an asterisk in the rule stands for anything. What accepts nothing is a fault, too.
//
//	node nag.mjs ../template.yaml
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { App, CfnResource, Stack, Validations } from 'aws-cdk-lib';
import { CfnInclude } from 'aws-cdk-lib/cloudformation-include';
import { AwsSolutionsChecks } from 'cdk-nag';

const scratch = mkdtempSync(join(tmpdir(), 'petpick-nag-'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));

// As `aws cloudformation package` would put it: CDK takes no local path for a function's code.
const templateFile = join(scratch, 'template.yaml');
writeFileSync(templateFile, readFileSync(process.argv[2], 'utf8').replace(/^( +)Code: \.\.\/build\/(\S+)$/gm, '$1Code: { S3Bucket: packaged, S3Key: $2 }'));

const outdir = join(scratch, 'out');
const app = new App({ outdir, analyticsReporting: false });
const stack = new Stack(app, 'petpick');
const include = new CfnInclude(stack, 'Template', { templateFile });
Validations.of(app).addPlugins(new AwsSolutionsChecks(app));

const everywhere = '';
const accepted = [];
const accept = (resource, metadata) => {
  for (const { id, reason } of metadata?.rules_to_suppress ?? []) {
    accepted.push({ resource, id, reason, pattern: new RegExp('^' + id.split('*').map(escape).join('.*') + '$'), used: 0 });
  }
};
function escape(text) {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
accept(everywhere, include._toCloudFormation().Metadata?.cdk_nag);
for (const node of stack.node.findAll()) {
  if (node instanceof CfnResource) accept(node.node.id, node.getMetadata('cdk_nag'));
}


const faults = [];
const say = console.error;
console.error = () => {}; // CDK's own list, in which accepted findings stand as well
let refusal;
try {
  app.synth();
} catch (e) {
  refusal = e;
}
console.error = say;
let report;
try {
  report = JSON.parse(readFileSync(join(outdir, 'validation-report.json'), 'utf8'));
} catch {
  throw refusal ?? new Error('CDK left no report');
}

// CDK's own reading of the schemas is in there as well: cfn-lint does that, and knows conditions.
const solutions = report.pluginReports.find(({ pluginName }) => pluginName === 'AwsSolutions');
for (const { ruleName, description, violatingConstructs } of solutions.violations) {
  for (const { constructPath } of violatingConstructs) {
    const resource = constructPath.split('/')[2];
    const answer = accepted.find((a) => (a.resource === everywhere || a.resource === resource) && a.pattern.test(ruleName));
    if (answer) answer.used++;
    else faults.push(`${resource}: ${ruleName}: ${description}`);
  }
}
for (const { resource, id, reason, used } of accepted) {
  if (!used) faults.push(`${resource || 'the template'} accepts ${id}, which nothing breaks`);
  if (!reason) faults.push(`${resource || 'the template'} accepts ${id} without a reason`);
}
for (const fault of faults) console.error(fault);
process.exitCode = faults.length ? 1 : 0;
