package mutate

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"text/tabwriter"
	"time"
)

type options struct {
	root   string
	match  string
	some   int
	seed   string
	list   bool
	output string
	limit  time.Duration
}

// Main is the program: it plants the chosen mutants one after another and returns an error unless all are red.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o := options{}
	flags := flag.NewFlagSet("mutate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.root, "root", ".", "root `folder` of the repository")
	flags.StringVar(&o.match, "run", ".", "only the mutants whose name or claim matches this `regexp`")
	flags.IntVar(&o.some, "some", 0, "only this `number` of them, chosen by -seed; 0 means all")
	flags.StringVar(&o.seed, "seed", "", "`text` that chooses, such as a commit: another one chooses others")
	flags.BoolVar(&o.list, "list", false, "list the mutants and plant none")
	flags.StringVar(&o.output, "o", "table", "output `format`, table or json")
	flags.DurationVar(&o.limit, "limit", 5*time.Minute, "time for the tests of one mutant")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.output != "table" && o.output != "json" {
		return fmt.Errorf("-o %q: want table or json", o.output)
	}
	mutants, err := o.choose()
	if err != nil {
		return err
	}
	if o.list {
		return o.printList(stdout, mutants)
	}
	return o.run(ctx, mutants, stdout, stderr)
}

func (o options) choose() ([]Mutant, error) {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return nil, err
	}
	mutants, err := Load(filepath.Join(root, "tests/mutate/mutants"))
	if err != nil {
		return nil, err
	}
	match, err := regexp.Compile(o.match)
	if err != nil {
		return nil, fmt.Errorf("-run: %w", err)
	}
	mutants = slices.DeleteFunc(mutants, func(m Mutant) bool { return !match.MatchString(m.Name) && !match.MatchString(m.Claim) })
	if len(mutants) == 0 {
		return nil, fmt.Errorf("-run %s matches no mutant", o.match)
	}
	return some(mutants, o.some, o.seed), nil
}

// some returns n mutants, or all if n is 0. The seed decides which; over many seeds all have their turn.
func some(mutants []Mutant, n int, seed string) []Mutant {
	if n <= 0 || n >= len(mutants) {
		return mutants
	}
	order := func(m Mutant) uint64 {
		h := fnv.New64a()
		_, _ = io.WriteString(h, seed+"\x00"+m.Name) // a hash's Write never fails
		return h.Sum64()
	}
	mutants = slices.Clone(mutants)
	slices.SortFunc(mutants, func(a, b Mutant) int {
		if order(a) < order(b) {
			return -1
		}
		return 1
	})
	return mutants[:n]
}

func (o options) printList(w io.Writer, mutants []Mutant) error {
	if o.output == "json" {
		return json.NewEncoder(w).Encode(mutants)
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "NAME\tCLAIM\tTEST\tFAULT") // Flush returns the error
	for _, m := range mutants {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s %s\t%s\n", m.Name, m.Claim, m.Package, m.Test, m.Fault)
	}
	return table.Flush()
}

func (o options) run(ctx context.Context, mutants []Mutant, stdout, stderr io.Writer) error {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return err
	}
	runner := &Runner{Root: root, Limit: o.limit}
	var results []Result
	for i, m := range mutants {
		_, _ = fmt.Fprintf(stderr, "%d/%d %s ... ", i+1, len(mutants), m.Name) // progress
		result := runner.Run(ctx, m)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		_, _ = fmt.Fprintf(stderr, "%s in %.0f s: %s\n", result.Verdict, result.Seconds, result.Why)
		results = append(results, result)
	}
	if err := o.print(stdout, results); err != nil {
		return err
	}
	red := len(slices.DeleteFunc(slices.Clone(results), func(r Result) bool { return r.Verdict != Red }))
	if red < len(results) {
		return fmt.Errorf("%d of %d mutants are not red", len(results)-red, len(results))
	}
	return nil
}

func (o options) print(w io.Writer, results []Result) error {
	if o.output == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(results)
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(table, "VERDICT\tNAME\tCLAIM\tSECONDS\tWHY") // Flush returns the error
	for _, r := range results {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%.0f\t%s\n", r.Verdict, r.Name, r.Claim, r.Seconds, r.Why)
	}
	return table.Flush()
}
