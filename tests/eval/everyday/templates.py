# SPDX-License-Identifier: Apache-2.0
"""Requests made from the texts of other rows: what to do with a text is the task, what the text is about stays the field."""

LANGUAGES = 'Spanish French German Italian Portuguese Russian Chinese Japanese Korean Arabic Hindi Turkish Polish Dutch Swedish Greek Hebrew ' \
            'Vietnamese English Latin'.split()

TRANSLATE = ['Translate to {l}: {t}', 'Translate the following text into {l}.\n\n{t}', 'how do you say "{t}" in {l}', '{t}\n\nTranslate this to {l}.',
             'Can you translate this into {l} for me? {t}', 'Please translate from English to {l}:\n{t}', 'What is "{t}" in {l}?', '{l} translation of: {t}',
             'Übersetze ins Deutsche: {t}', 'Traduce al español: {t}', 'Traduis en français : {t}', '翻译成中文：{t}', 'Переведи на русский: {t}',
             '次の文を日本語に訳してください：{t}', 'Traduci in italiano: {t}', 'Traduza para o português: {t}', '다음을 한국어로 번역해 주세요: {t}']

REWRITE = ['Rewrite the given text and correct grammar, spelling and punctuation errors.\n{t}', 'Paraphrase the paragraph. All the information should be kept.\n\n{t}',
           'Convert the following sentence to the past tense.\n{t}', 'Change the first person to the third person in the given text. {t}', 'Express the text in a more professional manner.\n{t}',
           'Summarize what you have been given in a brief manner.\n{t}', 'Make one sentence out of this document:\n{t}', 'Expand the given text and give it more detail.\n{t}',
           'Edit the following paragraph.\n\n{t}', 'Reformulate: {t}', 'Shorten the text to at most 50 words.\n{t}', 'Replace all names in the text with placeholders.\n{t}',
           'Give feedback on my draft and improve it:\n{t}', 'enhance this prompt so that an AI understands it better: {t}', 'Describe the content of the article in a brief manner.\n{t}',
           '改写下面的句子，使其更正式。\n{t}', '将下面这段话润色一下。\n{t}', '请概括下面这段文字的主要内容。\n{t}', '把下面的内容改成诗歌。\n{t}', '用更简单的语言重写：{t}', '修改以下文章中的语法错误：\n{t}',
           'Korrigiere und verbessere diesen Text: {t}', 'Перепиши этот текст проще: {t}', '次の文章を要約してください。\n{t}', 'أعد صياغة النص التالي:\n{t}', 'Summarize the following text:\n\n{t}', '{t}\n\nSummarize this in one sentence.', 'TL;DR of this please:\n{t}', 'Rewrite this in a friendlier tone:\n{t}',
           'Give me a short summary.\n\n{t}', 'Paraphrase the following paragraph.\n{t}', 'Make this text shorter and clearer: {t}',
           'Rewrite the text below so that a child understands it.\n"""{t}"""', 'What are the main points of this text?\n\n{t}\n', 'Proofread this:\n{t}',
           'Correct the spelling and grammar: {t}', 'Turn this into bullet points.\n{t}', 'Improve the style of this text: {t}', '请总结以下内容：\n{t}',
           'Fasse den folgenden Text zusammen:\n{t}', 'Resume el siguiente texto:\n{t}', 'Résume le texte suivant :\n{t}']

# As instructions are written that come with an input.
EXTRACT = ['Given a text, decide whether it is about politics, sports, science or business.\n{t}', 'Tell me if the following sentence is factually correct. Yes or no?\n{t}',
           'In this task, you are given a passage. Find the sentence that answers the question.\n\n{t}', 'Identify all organizations, people and places mentioned.\n\nText: {t}',
           'Determine the sentiment of the review. Output positive, negative or mixed.\nReview: {t}', 'Detect whether the text contains offensive language.\n{t}',
           'Choose the best category for this article. Candidates: health, law, travel, technology.\n{t}', 'You are given a message; label its intent.\nMessage: {t}',
           'Find the toxic word in the sentence, if there is one.\n{t}', 'Analyze the following text and assign it to one of the categories A, B or C. Give the letter only.\n{t}',
           'Count how many times each noun occurs in the paragraph.\n{t}', 'Compare the claim with the document. Answer "supported" or "not supported".\nDocument: {t}',
           'Parse the record below and output CSV with one line an entry.\n{t}', 'Evaluate this response on a scale of 1 to 5 and return only the number.\n{t}',
           'Given the passage, answer the question in a few words.\nPassage: {t}\nQuestion: Who is it about?', 'Select the longest sentence of the paragraph and output it.\n{t}',
           'Predict the number of stars of this review.\n{t}', 'Output the part of speech of each word.\n{t}', 'Are these two statements duplicates? {t}',
           'Extract the following information as JSON: who, what, when, where.\n```\n{t}\n```', 'Which of the statements below is supported by the text?\n{t}',
           '将下面的文本分类为正面或负面。\n{t}', '请从以下文章中提取人名、地名和时间。\n{t}', '判断下面的句子属于哪个类别：体育、政治、科技。\n{t}', '阅读文章并回答问题：主要人物是谁？\n{t}',
           '下面的邮件是垃圾邮件吗？\n{t}', '根据以下文字，列出所有提到的数字。\n{t}', 'Klassifiziere den folgenden Text als positiv oder negativ.\n{t}',
           'Clasifica el siguiente texto como positivo o negativo.\n{t}', 'Extrais les noms propres du texte suivant.\n{t}', 'Extract all names of people and places from this text:\n{t}', 'Classify the following text as positive, negative or neutral.\n\n{t}',
           '{t}\n\nWhich topic does this text belong to? Answer with one word.', 'Is the following message spam? Answer yes or no.\n{t}',
           'List all dates and numbers in the text.\n"""{t}"""', 'Return the key entities of this text as JSON.\n{t}',
           'Read the passage and answer the question.\n\n{t}\n\nQuestion: what is the main claim?', 'Does this text mention a person? {t}',
           'Extract the most important keywords: {t}', 'Rate the quality of this answer from 1 to 10:\n{t}', '从下面的文字中提取关键词：\n{t}',
           'Which of these categories fits best: A) request, B) complaint, C) praise?\n{t}']

ROLES = {'coding': ['senior software engineer', 'Linux administrator', 'data scientist', 'frontend developer', 'database expert', 'security researcher'],
         'mathematics': ['maths teacher', 'statistician'], 'science': ['physics professor', 'biologist', 'mechanical engineer', 'chemist'],
         'medicine': ['doctor', 'nurse', 'nutritionist'], 'law': ['lawyer', 'legal adviser'], 'business': ['financial adviser', 'marketing expert', 'accountant', 'CEO'],
         'knowledge': ['historian', 'philosopher', 'psychologist', 'teacher'], 'creative': ['novelist', 'poet', 'screenwriter'],
         'languages': ['translator', 'linguist', 'editor'], 'everyday': ['chef', 'travel guide', 'gardener', 'life coach', 'personal trainer']}
ACT = ['You are a {r}. {t}', 'Act as a {r}. {t}', 'As an experienced {r}, {t}', 'You are an expert {r}. Answer step by step.\n\n{t}']

POLITE = ['Hi, {t}', 'Hello! {t}', 'Please help me: {t}', 'Can you help me with this? {t}', 'I have a question. {t}', '{t} Thanks!', 'hey {t}', '{t} Please explain.',
          'Question: {t}', '{t} Be brief.', 'I need your help. {t}', '{t}\n\nThank you in advance']

THINGS = ['read a csv file', 'sort a list of objects by two keys', 'make an http request', 'parse json', 'connect to a postgres database', 'write a unit test',
          'remove duplicates from an array', 'reverse a string', 'read a file line by line', 'convert a string to an integer', 'format a date',
          'handle exceptions', 'run code in parallel', 'upload a file', 'validate an email address', 'split a string by comma', 'log to a file',
          'mock a function in a test', 'generate a random number', 'merge two dictionaries', 'resize an image', 'create a thread', 'send an email',
          'implement a binary search', 'scrape a web page', 'draw a line chart', 'cache results', 'schedule a job', 'hash a password', 'paginate results',
          'build a login form', 'center an element', 'deploy to production', 'cluster data points', 'train a classifier', 'fine-tune a language model',
          'embed documents and search them', 'detect objects in an image', 'stream a response', 'set up ssh keys', 'add a custom header', 'render a template']
TOOLS = ['Python', 'JavaScript', 'TypeScript', 'Java', 'C++', 'C#', 'Go', 'Rust', 'PHP', 'Ruby', 'Swift', 'Kotlin', 'R', 'MATLAB', 'Perl', 'Scala', 'Haskell',
         'bash', 'PowerShell', 'SQL', 'Django', 'Flask', 'FastAPI', 'React', 'Vue', 'Angular', 'Node.js', 'Spring Boot', 'Laravel', 'Rails', 'pandas', 'PyTorch',
         'TensorFlow', 'Docker', 'Kubernetes', 'Terraform', 'Excel VBA', 'Unity', 'Qt', 'Android', '.NET', 'Symfony', 'WordPress', 'Next.js', 'scikit-learn',
         'Hugging Face transformers', 'AWS Lambda', 'Azure', 'nginx', 'Elixir', 'Julia', 'Dart', 'Svelte']
HOW = ['How do I {x} in {y}?', 'how to {x} in {y}', 'What is the best way to {x} with {y}?', 'Is it possible to {x} in {y}?', 'in {y}, how can I {x}?',
       'I am using {y} and want to {x}. How does that work?', "what's the easiest way to {x} using {y}"]
MAKE = ['Write {y} code to {x}.', 'write a {y} function to {x}', 'Show me an example in {y}: {x}', 'give me a {y} script that can {x}', 'I need {y} code that lets me {x}',
        'Create a small {y} program to {x} and explain it.', 'Please implement this in {y}: {x}', 'code to {x} in {y}']

FORMS = ['a short story', 'a poem', 'a song', 'a scene', 'a haiku', 'a fairy tale', 'a dialogue', 'a monologue', 'a limerick', 'the first chapter of a novel', 'a script',
         'a ballad', 'a rap', 'a sonnet', 'a fable', 'a comic sketch']
ABOUT = ['a dragon', 'the sea', 'a lost key', 'an old clock', 'two sisters', 'a lonely robot', 'autumn', 'a train at night', 'a wolf who sings', 'the last tree on Earth',
         'a city under water', 'my grandmother', 'a forgotten promise', 'a chess game with death', 'a baker in love', 'the moon', 'a spaceship', 'a ghost in the attic']
STYLE = ['', ' in the style of Edgar Allan Poe', ' with a surprising end', ' for children', ' that rhymes', ' in free verse', ' from the view of a cat', ', dark and slow',
         ' with vivid imagery', ' set in medieval Japan', ' in the style of a folk tune', ' with two characters', ' in 150 words']
TELL = ['Write {x} about {y}{z}.', 'Compose {x} about {y}{z}.', 'write me {x} about {y}{z}', 'Can you write {x} on {y}{z}?', 'Create {x} about {y}{z}, please.', 'I need {x} about {y}{z}.']

SNIPPETS = [
    'def total(xs):\n    s = 0\n    for x in xs:\n        s += x\n    return s / len(xs)', 'for (let i = 0; i <= items.length; i++) {\n  console.log(items[i].name);\n}',
    'SELECT * FROM users u LEFT JOIN orders o ON u.id = o.user_id WHERE o.total > 100;', '#include <stdio.h>\nint main(void) {\n    int a[3];\n    a[3] = 1;\n    return 0;\n}',
    'public class A {\n    private static int n;\n    public void inc() { n++; }\n}', 'fn longest(a: &str, b: &str) -> &str {\n    if a.len() > b.len() { a } else { b }\n}',
    'const [count, setCount] = useState(0);\nuseEffect(() => { setCount(count + 1) });', '#!/bin/bash\nfor f in $(ls *.txt); do mv $f ${f%.txt}.md; done',
    'df["mean"] = df.groupby("city")["price"].mean()', 'FROM python:3.12\nCOPY . /app\nRUN pip install -r requirements.txt\nCMD python app.py',
    'func worker(ch chan int) {\n    for {\n        v := <-ch\n        fmt.Println(v)\n    }\n}', '<div class="row"><div class="col">A</div><div class="col">B</div></div>',
    'class Dog < Animal\n  def speak\n    puts "Woof"\n  end\nend', 'let x: Int? = nil\nprint(x! + 1)', 'model.add(Dense(10, activation="softmax"))\nmodel.compile(loss="mse")',
    'import pandas as pd\ndf = pd.read_csv("a.csv")\nprint(df.colums)', 'try {\n    $pdo->query("SELECT * FROM t WHERE id = $id");\n} catch (Exception $e) { }',
    'apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - image: nginx', 'x <- c(1, 2, NA)\nmean(x)', 'main = putStrLn (show (foldr (+) 0 [1..10]))',
    'Traceback (most recent call last):\n  File "main.py", line 12, in <module>\n    print(data["name"])\nKeyError: \'name\'', 'error: borrow of moved value: `s`',
    'panic: runtime error: index out of range [5] with length 5', 'Uncaught TypeError: Cannot read properties of undefined (reading \'map\')',
    'fatal: refusing to merge unrelated histories', 'E: Unable to locate package docker-ce', 'java.lang.OutOfMemoryError: Java heap space',
    'ssh: connect to host example.com port 22: Connection refused', 'psql: FATAL: password authentication failed for user "app"',
    'undefined reference to `pthread_create\'', 'CUDA out of memory. Tried to allocate 2.00 GiB', 'nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)']
MEND = ['{t}', 'What is wrong with this code?\n\n{t}', 'Fix this:\n```\n{t}\n```', '{t}\n\nwhy does this not work?', 'Explain this code:\n{t}', 'I get this error, how do I solve it?\n{t}',
        'Can you review the following code and suggest improvements?\n\n{t}', 'Rewrite this to be cleaner:\n{t}', 'What does the following do?\n```\n{t}\n```',
        '{t}\nmodify this so that it handles empty input', 'Convert this to another language, please:\n{t}', 'Find the bug.\n{t}', 'How can I make this faster?\n\n{t}',
        'Write tests for this function:\n{t}', 'Add type hints and comments:\n```python\n{t}\n```']


def pick(of, rank, *what):
    return of[int.from_bytes(rank(*what)[:4], 'big') % len(of)]


def wrap(kind, templates, texts, n, rank, field, task, **more):
    """n rows: each text in a template, texts and templates by rank; field None: the text's own."""
    out = []
    for i, (own, text) in enumerate(sorted(texts, key=lambda t: rank(kind, *t))[:n]):
        values = {k: pick(v, rank, kind, k, text) for k, v in more.items()}
        out.append((kind, field or own, task, pick(templates, rank, kind, i, text).format(t=text, **values)))
    return out


def frames(path, rank, n_english, n_other):
    """Rows of frames.txt: each word in some frames of each task, as many for each field and language."""
    tasks = ('question', 'plan', 'write', 'roleplay', 'code')
    out, lang, forms, words = [], None, {}, {}

    def flush():
        for field, list_of in words.items():
            made = []
            for w in list_of:
                for task in tasks:
                    if task == 'code' and field != 'coding':
                        continue
                    for f in forms.get(task, []):
                        made.append((field, 'write' if field == 'creative' and task == 'write' else task, f.replace('{k2}', pick(list_of, rank, w, f)).replace('{k}', w)))
            if field in ('smalltalk', 'commands'):  # these are whole sentences
                made = [(field, 'chat' if field == 'smalltalk' else 'act', w) for w in list_of]
            elif lang != 'en':
                made += [(field, '-', w) for w in list_of]
            made.sort(key=lambda m: rank('frames', lang, *m))
            out.extend((f'frames_{"en" if lang == "en" else "other"}', *m) for m in made[:n_english if lang == 'en' else n_other])

    with open(path, encoding='utf-8') as f:
        for line in f:
            line = line.rstrip('\n')
            if line.startswith('['):
                flush()
                lang, forms, words = line[1:-1], {}, {}
            elif line and not line.startswith('#'):
                key, rest = line.split(': ', 1)
                into = forms if key in tasks else words
                into[key] = into.get(key, []) + rest.split('|')
    flush()
    return out


def grammar(path, rank):
    """Rows of grammar.txt: patterns in turn, each slot filled by rank, no text twice."""
    slots, sections = {}, []
    with open(path, encoding='utf-8') as f:
        for line in f:
            line = line.rstrip('\n')
            if line.startswith('['):
                field, task, n = line[1:-1].split()
                sections.append((field, task, int(n), []))
            elif sections and line:
                sections[-1][3].append(line)
            elif line and not line.startswith('#'):
                key, rest = line.split(': ', 1)
                slots[key] = rest.split('|')
    out, seen = [], set()
    for field, task, n, patterns in sections:
        made = 0
        for i in range(20 * n):
            if made == n:
                break
            text = patterns[i % len(patterns)]
            for k in range(text.count('{')):
                slot = text[text.index('{') + 1:text.index('}')]
                text = text.replace('{' + slot + '}', pick(slots[slot], rank, 'slot', field, task, i, k), 1)
            if text not in seen:
                seen.add(text)
                out.append(('made_grammar', field, task, text))
                made += 1
    return out


def make(rows, rank):
    def some(lo, hi, fields=None, sources=None, tasks=None, seeds=True):
        return sorted({(f, t) for s, f, k, t in rows if lo <= len(t) <= hi and (not fields or f in fields) and (not sources or s in sources) and
                       (not tasks or k in tasks) and '{' not in t and (seeds or not s.startswith('seeds'))})

    topics = ('science', 'medicine', 'law', 'business', 'knowledge', 'everyday')
    short = [(f, t) for f, t in some(12, 120) if f in ('everyday', 'knowledge', 'smalltalk', 'commands', 'business', 'medicine', 'creative')]
    long = some(60, 1500, topics)
    even = []
    for f in topics:  # no field stands for a task
        even += sorted((x for x in long if x[0] == f), key=lambda x: rank('even', *x))[:90]
    out = wrap('made_translate', TRANSLATE, short, 300, rank, 'languages', 'translate', l=LANGUAGES)
    out += wrap('made_rewrite', REWRITE, even, 420, rank, None, 'rewrite')
    out += wrap('made_extract', EXTRACT, even, 420, rank, None, 'extract')
    for field, roles in ROLES.items():
        texts = some(20, 300, (field,), tasks=('question', 'write', 'plan', 'code', 'translate', 'rewrite', 'reason'))
        out += wrap('made_act', ACT, texts, 25, rank, field, '-', r=roles)
    both = [(x, y) for x in THINGS for y in TOOLS]
    both.sort(key=lambda p: rank('how', *p))
    out += [('made_code', 'coding', 'question', pick(HOW, rank, 'how', x, y).format(x=x, y=y)) for x, y in both[:260]]
    out += [('made_code', 'coding', 'code', pick(MAKE, rank, 'make', x, y).format(x=x, y=y)) for x, y in both[260:460]]
    told = sorted(((x, y, z) for x in FORMS for y in ABOUT for z in STYLE), key=lambda p: rank('told', *p))[:220]
    out += [('made_creative', 'creative', 'write', pick(TELL, rank, 'tell', *p).format(x=p[0], y=p[1], z=p[2])) for p in told]
    mended = [(t, m) for t in SNIPPETS for m in range(len(MEND))]
    mended.sort(key=lambda p: rank('mend', *p))
    out += [('made_code', 'coding', 'code', MEND[m].format(t=t) if '{' not in t else MEND[m].replace('{t}', t)) for t, m in mended[:240]]
    polite = sorted(((s, f, k, t) for s, f, k, t in rows if 10 <= len(t) <= 200 and '{' not in t and f != 'general'), key=lambda r: rank('polite', *r))[:500]
    out += [(s, f, k, pick(POLITE, rank, 'polite', t).format(t=t)) for s, f, k, t in polite]
    return out
