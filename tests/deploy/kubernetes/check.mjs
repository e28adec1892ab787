// Reads YAML documents on stdin, compares every field with what the official client knows of Kubernetes' types (names, types,
// required ones), prints what is wrong, a line each, and the documents as JSON on the last line.
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as models from "@kubernetes/client-node/dist/gen/models/all.js";
import yaml from "js-yaml";

const folder = dirname(fileURLToPath(import.meta.resolve("@kubernetes/client-node/dist/gen/models/all.js")));
const wrong = [];
const say = (path, what) => wrong.push(`${path}: ${what}`);

const plain = {
	string: (v) => typeof v === "string",
	number: (v) => typeof v === "number",
	boolean: (v) => typeof v === "boolean",
	object: (v) => typeof v === "object",
	any: () => true,
	Date: (v) => !Number.isNaN(Date.parse(v)),
	IntOrString: (v) => Number.isInteger(v) || typeof v === "string",
};

// Only the declarations say what must be there: a property without a question mark.
const required = (type) => {
	const text = readFileSync(join(folder, `${type}.d.ts`), "utf8");
	return [...text.matchAll(/^ {4}'(\w+)': /gm)].map((m) => m[1]);
};

function checkModel(value, type, path) {
	const fields = new Map(models[type].getAttributeTypeMap().map((f) => [f.baseName, f]));
	if (value === null || typeof value !== "object" || Array.isArray(value)) return say(path, `is no ${type}`);
	for (const [name, v] of Object.entries(value)) {
		if (!fields.has(name)) say(`${path}.${name}`, `${type} has no such field`);
		else if (fields.get(name).format === "int32" && !Number.isInteger(v)) say(`${path}.${name}`, "is no integer");
		else check(v, fields.get(name).type, `${path}.${name}`);
	}
	for (const name of required(type)) if (!(name in value)) say(path, `${type} needs ${name}`);
}

function check(value, type, path) {
	let m;
	if ((m = /^Array<(.*)>$/.exec(type))) {
		if (!Array.isArray(value)) return say(path, "is no list");
		value.forEach((v, i) => check(v, m[1], `${path}[${i}]`));
	} else if ((m = /^\{ \[key: string\]: (.*); \}$/.exec(type))) {
		if (value === null || typeof value !== "object") return say(path, "is no map");
		for (const [k, v] of Object.entries(value)) check(v, m[1], `${path}.${k}`);
	} else if (plain[type]) {
		if (!plain[type](value)) say(path, `${JSON.stringify(value)} is no ${type}`);
	} else if (models[type]) checkModel(value, type, path);
	else say(path, `type ${type} is not known`);
}

const documents = yaml.loadAll(readFileSync(0, "utf8")).filter((d) => d !== null && d !== undefined);
for (const d of documents) {
	const version = d.apiVersion.split("/").pop();
	const type = version[0].toUpperCase() + version.slice(1) + d.kind;
	if (models[type]) checkModel(d, type, d.kind);
	else say(d.kind, `${d.apiVersion} has no such kind`);
}
for (const line of wrong) console.log(line);
console.log(JSON.stringify(documents));
