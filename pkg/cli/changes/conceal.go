package changes

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// concealer replaces secrets. Equal ones get the same number, so that a change of a secret is seen, and nothing else of it.
type concealer struct{ numbers map[string]int }

func newConcealer() *concealer { return &concealer{map[string]int{}} }

func (c *concealer) hide(secret string) string {
	n, known := c.numbers[secret]
	if !known {
		n = len(c.numbers) + 1
		c.numbers[secret] = n
	}
	return fmt.Sprintf("(hidden %d)", n)
}

// value returns a copy of a tree without the secrets in it. name is what the tree is the value of.
func (c *concealer) value(name string, tree any) any {
	switch tree := tree.(type) {
	case string:
		if tree != "" && (namesSecret(name) || secretText.MatchString(tree)) {
			return c.hide(tree)
		}
	case []any:
		list := make([]any, len(tree))
		for i, item := range tree {
			list[i] = c.value(name, item)
		}
		return list
	case map[string]any:
		table := make(map[string]any, len(tree))
		for _, key := range slices.Sorted(maps.Keys(tree)) {
			meaning := key
			if variable, ok := tree["name"].(string); ok && key == "value" {
				meaning = variable // of the environment
			}
			table[key] = c.value(meaning, tree[key])
		}
		return table
	}
	return tree
}

// object returns the fields of an object without the secrets in it. All data of a Secret are secrets.
func (c *concealer) object(kind string, fields map[string]any) map[string]any {
	if kind == "Secret" {
		fields = maps.Clone(fields)
		for _, field := range []string{"data", "stringData"} {
			if entries, ok := fields[field].(map[string]any); ok {
				fields[field] = c.entries(entries)
			} else {
				delete(fields, field)
			}
		}
	}
	concealed, _ := c.value("", fields).(map[string]any)
	return concealed
}

func (c *concealer) entries(entries map[string]any) map[string]any {
	concealed := make(map[string]any, len(entries))
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		concealed[key] = c.hide(fmt.Sprint(entries[key]))
	}
	return concealed
}

// secretEnds are the ends of names of settings and environment variables whose values are secrets. What names a Secret,
// or a key in one, is no secret.
func secretEnds() []string {
	return []string{"token", "password", "passwd", "passphrase", "privatekey", "secretkey", "accesskey", "apikey", "clientsecret", "credentials"}
}

func namesSecret(name string) bool {
	name = strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name))
	return slices.ContainsFunc(secretEnds(), func(end string) bool { return strings.HasSuffix(name, end) })
}

// secretText matches texts that hold a secret whatever their name is: private keys, and URLs with a password.
var secretText = regexp.MustCompile(`PRIVATE KEY-----|[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s:@]*:[^/\s@]+@`)
