// The words of a declarative pipeline, done by this machine: `sh` really runs.
class Words {
    def vars = [:]; def params = [:]; def folder; def run
    def agent(x) {}
    def getAny() { 'any' }
    def getEnv() { [BUILD_TAG: run] + vars }
    def pipeline(Closure c) { go(c) }
    def parameters(Closure c) { go(c) }
    def string(Map m) { if (!params.containsKey(m.name)) params[m.name] = m.defaultValue }
    def environment(Closure c) { go(new Setting(words: this), c) }
    def credentials(String id) { System.getenv('VOLANT_TOKEN') }
    def stages(Closure c) { go(c) }
    def stage(String name, Closure c) { println "[stage] $name"; go(c) }
    def parallel(Closure c) { go(c) }
    def steps(Closure c) { go(c) }
    def writeFile(Map m) { new File(folder, m.file).text = m.text }
    def withEnv(List l, Closure c) { def old = [:] + vars; l.each { def (k, v) = it.split('=', 2); vars[k] = v }; go(c); vars = old }
    def sh(String command) {
        def b = new ProcessBuilder('sh', '-c', command).directory(new File(folder)).redirectErrorStream(true)
        vars.each { k, v -> b.environment()[k] = v.toString() }
        def p = b.start(); print p.text
        if (p.waitFor() != 0) throw new RuntimeException("script returned ${p.exitValue()}")
    }
    def go(Closure c) { go(this, c) }
    def go(d, Closure c) { c.delegate = d; c.resolveStrategy = Closure.DELEGATE_FIRST; c() }
}
class Setting {
    Words words
    def getEnv() { words.getEnv() }
    def getParams() { words.params }
    def credentials(String id) { words.credentials(id) }
    void setProperty(String name, value) { name == 'words' ? (this.@words = value) : (words.vars[name] = value.toString()) }
}
def words = new Words(folder: args[1], run: args[2])
args.drop(3).each { def (k, v) = it.split('=', 2); words.params[k] = v }
def shell = new GroovyShell(this.class.classLoader, new Binding())
def script = shell.parse(new File(args[0]))
script.metaClass.pipeline = { Closure c -> words.pipeline(c) }
script.run()
println words.params
