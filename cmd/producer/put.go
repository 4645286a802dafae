package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"tributary/internal/base/cli"
	"tributary/internal/messages"
	"tributary/internal/schema"
	"tributary/internal/send/ids"
	"tributary/internal/send/publish"
)

// common are the flags of every command that sends a single one.
type common struct {
	queueFlag
	schema.File
	cli.Output
	Tenant      string `required:"" placeholder:"ID" help:"Tenant that it belongs to."`
	ItemVersion *int64 `placeholder:"N" help:"Version, 1 or more: an older one never overwrites a newer one."`
}

// newID are the flags of commands that may make an id.
type newID struct {
	ID         string   `name:"id" env:"-" placeholder:"ID" help:"Its id; without it a new one is made."`
	IDs        ids.Kind `name:"ids" enum:"uuid7,uuid4" default:"uuid7" help:"Kind of new ids: uuid7 sorts by time, uuid4 is random (${default})."`
	Attributes string   `env:"-" placeholder:"JSON" help:"Further fields of the upstream system, as a JSON object."`
}

func (n *newID) id() (string, error) {
	if n.ID != "" {
		return n.ID, nil
	}
	return ids.New(n.IDs)
}

type putCmd struct {
	common
	newID
	Type   string   `arg:"" help:"Type of the item, such as order."`
	Fields []string `arg:"" optional:"" name:"field=value" help:"Values of its fields."`
}

// Help is what producer put --help says beside the flags.
func (*putCmd) Help() string {
	return `Every type of the file that --types names can be written; without a file these are user and order. A value is written as its
field's type has it: text as it is, a number in digits, true or false, an object or array as JSON.

    producer put user --tenant acme --id u-1 user_name=Alice user_email=alice@example.com
    producer put order --tenant acme user_id=u-1 order_amount=150.00
    producer put visit --types clinic.yaml --tenant acme --version 2 --id v-1 patient_id=p-1 doctor_id=d-1 starts_at=2026-11-24T11:00:00Z
    producer put device --types iot.yaml --tenant acme --id d-7 site_id=s-1 'settings={"interval":60}' ...

The values stand together, before or behind the flags. A put writes the whole item: a field that is left out is not in it afterwards,
or has its default. --version N is short for --item-version N.`
}

// Run sends a put.
func (p *putCmd) Run(ctx context.Context, s *cli.Streams) error {
	types, err := readTypes(s, p.File)
	if err != nil {
		return err
	}
	t, err := typeNamed(types, p.Type)
	if err != nil {
		return err
	}
	c := messages.Command{Type: t, TenantID: p.Tenant, Attributes: p.Attributes}
	if c.Values, err = values(t, p.Fields); err != nil {
		return err
	}
	if c.ID, err = p.id(); err != nil {
		return err
	}
	return p.send(ctx, s, &c, nil)
}

// values reads the arguments of a put. Whether the fields can have them is checked with the command.
func values(t *schema.Type, args []string) (v schema.Values, err error) {
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok {
			return v, cli.Usage("%q is not FIELD=VALUE, such as %s", arg, example(t))
		}
		f := t.Field(name)
		if f == nil {
			return v, cli.Usage("%w", notAField(t, name))
		}
		if _, twice := v.Get(f.Position); twice {
			return v, cli.Usage("%s: the field is there twice", name)
		}
		v.Set(f.Position, text)
	}
	return v, nil
}

// maxExampleBytes is the longest value that an error shows as an example.
const maxExampleBytes = 64

func example(t *schema.Type) string {
	if len(t.Fields) == 0 {
		return "name=Ada"
	}
	value := t.Fields[0].Example()
	if len(value) > maxExampleBytes {
		value = "VALUE"
	}
	return t.Fields[0].Name + "=" + value
}

// notAField says how a member is given that is not a field, or which fields there are.
func notAField(t *schema.Type, name string) error {
	switch slot := t.Slot(name); slot {
	case schema.SlotUnknown:
		names := make([]string, len(t.Fields))
		for i, f := range t.Fields {
			names[i] = f.Name
		}
		return fmt.Errorf("%q is not a field of the type %s%s", name, t.Name, otherwise(name, names, "fields"))
	case schema.SlotType:
		return fmt.Errorf("%s: the type stands before the fields: producer put %s", name, t.Name)
	default:
		return fmt.Errorf("%s: it is no field, use the flag %s", name, headFlags(t)[name])
	}
}

type deleteCmd struct {
	common
	Type string `arg:"" help:"Type of the item, such as order."`
	ID   string `arg:"" name:"id" help:"Its id."`
}

// Help is what producer delete --help says beside the flags.
func (*deleteCmd) Help() string {
	return `Every type of the file that --types names can be deleted; without a file these are user and order.

    producer delete order --tenant acme o-1
    producer delete visit --types clinic.yaml --tenant acme --version 3 v-1

An id that begins with a hyphen stands behind two: -- -1. --version N is short for --item-version N.`
}

// Run sends a delete.
func (d *deleteCmd) Run(ctx context.Context, s *cli.Streams) error {
	types, err := readTypes(s, d.File)
	if err != nil {
		return err
	}
	t, err := typeNamed(types, d.Type)
	if err != nil {
		return err
	}
	c := messages.Delete(t, d.Tenant, d.ID)
	return d.send(ctx, s, &c, map[string]string{t.ID: "ID"})
}

// itemVersion makes --version, behind put and delete, the item's: kong knows that flag as the program's, whatever the command.
// Without a value it stays the program's.
func itemVersion(args []string) []string {
	if len(args) == 0 || args[0] != "put" && args[0] != "delete" {
		return args
	}
	renamed := append([]string(nil), args...)
	for i, arg := range args {
		switch value, equals := strings.CutPrefix(arg, "--version="); {
		case arg == "--":
			return renamed
		case equals:
			renamed[i] = "--item-version=" + value
		case arg == "--version" && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--"):
			renamed[i] = "--item-version"
		}
	}
	return renamed
}

// send checks a command, sends it, and prints the id. Names say by which flag or argument a member was given, where that is not by
// its own name.
func (c *common) send(ctx context.Context, s *cli.Streams, command *messages.Command, names map[string]string) error {
	if c.ItemVersion != nil {
		if *c.ItemVersion < 1 {
			return cli.Usage("--item-version: %d is not 1 or more", *c.ItemVersion)
		}
		command.Version = *c.ItemVersion
	}
	if bad := command.Validate(); bad != nil {
		return cli.Usage("%w", flagError(command, bad, names))
	}
	to, err := c.connect(ctx, s, 1)
	if err != nil {
		return err
	}
	defer to.close(ctx)
	ctx, span := to.tracing.Command(ctx, "producer "+command.Name())
	defer span.End()
	// Its own scope: the same command sent twice on purpose is two commands, also to a FIFO queue.
	p := publish.New(ctx, to.send, to.queue, publish.Config{Concurrency: 1, Scope: uuid.NewString(), Trace: to.traced()})
	added := p.Add(command, 0, 0)
	if err := p.Close(); err != nil {
		return explain(err)
	}
	if added != nil {
		return cli.Usage("%w", added)
	}
	if c.JSON() {
		return cli.WriteJSON(s.Out, struct {
			ID      string          `json:"id"`
			Queue   string          `json:"queue"`
			Command json.RawMessage `json:"command"`
		}{command.ID, to.queue.URL, messages.Append(nil, command)})
	}
	if _, err := fmt.Fprintln(s.Out, command.ID); err != nil {
		return fmt.Errorf("print id: %w", err)
	}
	return nil
}

// headFlags are the flags that give the members which every command has.
func headFlags(t *schema.Type) map[string]string {
	return map[string]string{
		schema.TenantIDName: "--tenant", t.ID: "--id", schema.VersionName: "--item-version", schema.AttributesName: "--attributes",
	}
}

// flagError names the flag or argument that a member was given by.
func flagError(command *messages.Command, bad *messages.Error, names map[string]string) error {
	name, ok := names[bad.Field]
	if !ok {
		name, ok = headFlags(command.Type)[bad.Field]
	}
	if ok {
		return fmt.Errorf("%s: %s", name, bad.Detail)
	}
	return bad
}
