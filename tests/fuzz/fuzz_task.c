/* A stranger's task: any bytes. What decodes is sound, and has this one encoding. */
#include <string.h>

#include "base/assert.h"
#include "work/task.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct emac_buf again;
    struct emac_err err = {0};
    struct task t, copy;

    if (task_decode(&t, data, n, &err) != EMAC_OK) {
        EMAC_ASSERT(err.text[0] != '\0');
        return 0;
    }
    emac_buf_init(&again, TASK_BYTES_MAX);
    EMAC_ASSERT(task_copy(&copy, &t, NULL) == EMAC_OK);
    task_release(&t);
    EMAC_ASSERT(task_encode(&copy, &again, NULL, NULL) == EMAC_OK);
    EMAC_ASSERT(again.len == n && memcmp(again.data, data, n) == 0);
    task_release(&copy);
    emac_buf_release(&again);
    return 0;
}
