// Renders a chart and the library charts beside it the way Helm's engine does: the same template language, the same
// functions (Sprig), and those that Helm adds.  As there, every number is a float64 (YAML is read by way of JSON), and the
// values of a library have a `global` put into them.
//
//	render CHART [LIBRARY...] [key=value...]
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"gopkg.in/yaml.v3"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func toYaml(v interface{}) string {
	var b bytes.Buffer
	var plain interface{}
	text, err := json.Marshal(v)
	must(err)
	must(yaml.Unmarshal(text, &plain))
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	must(e.Encode(plain))
	return strings.TrimSuffix(b.String(), "\n")
}

func fromYaml(text string) map[string]interface{} {
	m, floats := map[string]interface{}{}, map[string]interface{}{}
	must(yaml.Unmarshal([]byte(text), &m))
	b, err := json.Marshal(m)
	must(err)
	must(json.Unmarshal(b, &floats))
	return floats
}

func files(chart, pattern string) []string {
	found, err := filepath.Glob(filepath.Join(chart, "templates", pattern))
	must(err)
	sort.Strings(found)
	return found
}

func main() {
	chart, libraries := os.Args[1], os.Args[2:]
	text, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	must(err)
	values := fromYaml(string(text))
	for _, library := range libraries {
		name := filepath.Base(library)
		if of, ok := values[name].(map[string]interface{}); ok {
			of["global"] = map[string]interface{}{}
		} else {
			values[name] = map[string]interface{}{"global": map[string]interface{}{}}
		}
	}
	all := template.New("all").Option("missingkey=zero")
	functions := sprig.TxtFuncMap()
	functions["toYaml"], functions["fromYaml"] = toYaml, fromYaml
	functions["include"] = func(name string, data interface{}) (string, error) {
		var b bytes.Buffer
		err := all.ExecuteTemplate(&b, name, data)
		return b.String(), err
	}
	functions["required"] = func(why string, v interface{}) (interface{}, error) {
		if v == nil || v == "" {
			return nil, fmt.Errorf("%s", why)
		}
		return v, nil
	}
	all.Funcs(functions)
	for _, c := range append(libraries, chart) {
		for _, f := range append(files(c, "*.tpl"), files(c, "*.yaml")...) {
			text, err := os.ReadFile(f)
			must(err)
			_, err = all.New(f).Parse(string(text))
			must(err)
		}
	}
	data := map[string]interface{}{
		"Values":  values,
		"Release": map[string]interface{}{"Name": "example", "Namespace": "default"},
		"Chart":   map[string]interface{}{"Name": "example"},
	}
	for _, f := range files(chart, "*.yaml") {
		fmt.Println("---")
		must(all.ExecuteTemplate(os.Stdout, f, data))
	}
}
