package query_test

import (
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"tributary/internal/query"
)

// standIn answers every call to DynamoDB with one text, as DynamoDB itself sends it.
func standIn(t testing.TB, text string) *dynamodb.Client {
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(text))), 10))
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(front.Close)
	return dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: &front.URL, Credentials: credentials.NewStaticCredentialsProvider("local", "local", "")})
}

// manyNumbers is an order of about 400 KB, as DynamoDB counts it, of 204,000 numbers.
func manyNumbers(id string) string {
	numbers := strings.TrimSuffix(strings.Repeat(`{"N":"0"},`, 204_000), ",")
	return `{"PK":{"S":"tenant#evil"},"SK":{"S":"order#` + id + `"},"order_id":{"S":"` + id + `"},"user_id":{"S":"u1"},"order_amount":{"N":"1"},"attributes":{"M":{"a":{"L":[` + numbers + `]}}}}`
}

// TestManyValuesFitTheMemory has sixty requests read a page of three items, each of which holds 204,000 values.
func TestManyValuesFitTheMemory(t *testing.T) {
	const bound = 256 << 20 // of a pod that answers queries
	client := standIn(t, `{"Count":3,"Items":[`+manyNumbers("o1")+","+manyNumbers("o2")+","+manyNumbers("o3")+`],"ScannedCount":3}`)
	cfg := defaults()
	cfg.QueryConcurrency, cfg.QueryTimeout = 256, 20*time.Second
	base := serve(t, cfg, query.Deps{DynamoDB: client})
	debug.FreeOSMemory()
	limit := debug.SetMemoryLimit(192 << 20) // as a worker that only answers queries sets it
	defer debug.SetMemoryLimit(limit)

	done, peaked := make(chan struct{}), make(chan uint64)
	go func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		peak := uint64(0)
		for {
			select {
			case <-tick.C:
				peak = max(peak, memory())
			case <-done:
				peaked <- peak
				return
			}
		}
	}()
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{}
	for range 60 {
		all.Go(func() {
			response, err := http.Get(base + "/v1/tenants/evil/orders?limit=1000")
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = response.Body.Close() }()
			n, err := io.Copy(io.Discard, response.Body)
			switch {
			case err != nil:
				t.Error(err)
			case response.StatusCode == http.StatusOK:
				if n < 3*2*204_000 {
					t.Errorf("an answer has %d bytes", n)
				}
			case response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "":
				t.Errorf("an answer is %s, Retry-After %q", response.Status, response.Header.Get("Retry-After"))
			}
			mu.Lock()
			answers[response.StatusCode]++
			mu.Unlock()
		})
	}
	all.Wait()
	close(done)
	peak := <-peaked
	t.Logf("answers by status: %v, peak %d MiB", answers, peak>>20)
	if peak > bound {
		t.Errorf("the process took %d MiB, want at most %d", peak>>20, bound>>20)
	}
	if answers[http.StatusOK] == 0 {
		t.Error("no request was served")
	}
}

// memory returns how much of the machine's memory the Go runtime holds.
func memory() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() - samples[1].Value.Uint64()
}
