package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"tributary/test/support/standin"
)

const (
	exportMemory = 64 // MiB
	exportKills  = 4
)

// export: a tenant's items, exported by a command that is killed again and again, are what a scan of the table finds.
func export(ctx context.Context, r *rig) error {
	if err := r.setUp(ctx, "commands"); err != nil {
		return err
	}
	if err := r.fill(ctx); err != nil {
		return err
	}
	to := filepath.Join(r.dir, "export")
	most := 0
	began := time.Now()
	for kill := 0; ; kill++ {
		cmd := exec.CommandContext(ctx, r.binary, "tenant", "export", "acme", "--to", to)
		cmd.Env = standin.Environ(r.url, r.url, "TRIBUTARY_QUEUE="+r.queue, "TRIBUTARY_TABLE="+r.table)
		out, done := new(lastLines), make(chan error, 1)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start export: %w", err)
		}
		go func() { done <- cmd.Wait() }()
		var fuse <-chan time.Time
		if kill < exportKills {
			fuse = time.After(500*time.Millisecond + rand.N(2*time.Second))
		}
		err, ended := error(nil), false
		for tick := time.NewTicker(50 * time.Millisecond); !ended; {
			select {
			case err = <-done:
				ended = true
				tick.Stop()
			case <-fuse:
				_ = cmd.Process.Kill() // it may have ended
				err = <-done           // it was killed
				ended = true
				tick.Stop()
			case <-tick.C:
				most = max(most, peak(cmd.Process.Pid))
			}
		}
		if kill < exportKills {
			if _, err := os.Stat(filepath.Join(to, "manifest.json")); err == nil {
				return fmt.Errorf("the export ended before kill %d: export more items", kill+1)
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("export: %w\n%s", err, out.text)
		}
		break
	}
	r.say("%d items: killed %d times and resumed, %v in all, %d MiB at most", r.items, exportKills, time.Since(began).Round(100*time.Millisecond), most)
	n, err := r.compare(ctx, to)
	if err != nil {
		return err
	}
	r.say("%d lines are equal to a scan of the table", n)
	if most > exportMemory {
		return fmt.Errorf("the export took %d MiB", most)
	}
	return nil
}

// lastLines keeps what a command has said.
type lastLines struct{ text []byte }

// Write implements io.Writer.
func (l *lastLines) Write(p []byte) (int, error) {
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-4096):]
	return len(p), nil
}

// fill writes the tenant's items, and some of others around them.
func (r *rig) fill(ctx context.Context) error {
	client := dynamodb.NewFromConfig(standin.Config(r.url))
	text := func(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
	var batch []types.WriteRequest
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		out, err := client.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{r.table: batch}})
		if err != nil {
			return fmt.Errorf("write items: %w", err)
		}
		if len(out.UnprocessedItems) > 0 {
			return errors.New("write items: some are unprocessed")
		}
		batch = batch[:0]
		return nil
	}
	for i := range r.items + 100 {
		tenant := "acme"
		if i >= r.items {
			tenant = []string{"acm", "acme2"}[i%2]
		}
		id := strconv.Itoa(i)
		item := map[string]types.AttributeValue{
			"PK": text("tenant#" + tenant), "SK": text("order#" + id), "order_id": text(id), "user_id": text("u" + strconv.Itoa(i%997)),
			"order_amount": &types.AttributeValueMemberN{Value: strconv.Itoa(i) + ".25"},
		}
		if i%3 == 0 {
			item["version"] = &types.AttributeValueMemberN{Value: strconv.Itoa(i + 1)}
		}
		if batch = append(batch, types.WriteRequest{PutRequest: &types.PutRequest{Item: item}}); len(batch) == 25 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// exported is a line of an export, and an item as a scan shows it.
type exported struct{ user, amount, version string }

// compare compares the files with a scan.
func (r *rig) compare(ctx context.Context, dir string) (int, error) {
	there := make(map[string]exported, r.items)
	pages := dynamodb.NewScanPaginator(r.ddb, &dynamodb.ScanInput{TableName: &r.table, ConsistentRead: aws.Bool(true)})
	value := func(item map[string]types.AttributeValue, name string) string {
		switch v := item[name].(type) {
		case *types.AttributeValueMemberS:
			return v.Value
		case *types.AttributeValueMemberN:
			return v.Value
		}
		return ""
	}
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return 0, fmt.Errorf("scan: %w", err)
		}
		for _, item := range page.Items {
			if value(item, "PK") == "tenant#acme" {
				there[value(item, "order_id")] = exported{value(item, "user_id"), value(item, "order_amount"), value(item, "version")}
			}
		}
	}
	f, err := os.Open(filepath.Join(dir, "orders.ndjson"))
	if err != nil {
		return 0, fmt.Errorf("open export: %w", err)
	}
	defer func() { _ = f.Close() }()
	n := 0
	for lines := bufio.NewReader(f); ; n++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		if err != nil {
			return n, fmt.Errorf("read export: %w", err)
		}
		var said struct {
			ID      string      `json:"order_id"`
			User    string      `json:"user_id"`
			Amount  json.Number `json:"order_amount"`
			Version json.Number `json:"version"`
		}
		if err := json.Unmarshal(line, &said); err != nil {
			return n, fmt.Errorf("line %d: %w: %s", n+1, err, line)
		}
		want, ok := there[said.ID]
		if got := (exported{said.User, said.Amount.String(), said.Version.String()}); !ok || got != want {
			return n, fmt.Errorf("line %d: %s is not in the table, or twice in the export; there: %+v", n+1, line, want)
		}
		delete(there, said.ID)
	}
	if len(there) > 0 || n != r.items {
		return n, fmt.Errorf("%d items of the table are not in the export", len(there))
	}
	return n, nil
}
